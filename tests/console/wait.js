// Opens a page of the console in headless Chromium, and waits until a part of it says something.
// Prints what the part says then, and how many forms the page has sent, as JSON.
//
//   node wait.js BASE_URL COOKIE PATH SELECTOR TEXT
'use strict';

const { known, run } = require('./chromium.js');

// Longer than what is waited for, and than the page would look again by itself.
const SETTLED_MS = 2500;

run(async (browser, [base, cookie, path, selector, text]) => {
  const page = await known(browser, base, cookie);
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
  return { said, sent, asked_since: asked - before };
});
