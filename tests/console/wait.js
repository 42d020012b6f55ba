// Opens a page of the console in headless Chromium, and waits until a part of it says something.
// Prints what the part says then, and how many forms the page has sent, as JSON.
//
//   node wait.js BASE_URL COOKIE PATH SELECTOR TEXT
//
// Chromium is $CHROMIUM, and its profile goes to $PROFILE.
'use strict';

const puppeteer = require('puppeteer-core');

// Longer than what is waited for, and than the page would look again by itself.
const SETTLED_MS = 2500;

async function main([base, cookie, path, selector, text]) {
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM,
    userDataDir: process.env.PROFILE,
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
  });
  try {
    const page = await browser.newPage();
    const [name, value] = cookie.split('=');
    await page.setCookie({ name, value, url: base });
    let sent = 0;
    let asked = 0;
    page.on('request', (request) => {
      sent += request.method() === 'POST';
      asked += request.url().includes('part=');
    });
    await page.goto(base + path, { waitUntil: 'domcontentloaded', timeout: 60000 });
    await page.waitForFunction((of, words) => {
      const part = document.querySelector(of);
      return part && part.innerText.includes(words);
    }, { timeout: 60000 }, selector, text);
    const before = asked;
    await new Promise((settled) => { setTimeout(settled, SETTLED_MS); });
    const said = await page.$eval(selector, (part) => part.innerText);
    console.log(JSON.stringify({ said, sent, asked_since: asked - before }));
  } finally {
    await browser.close();
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
