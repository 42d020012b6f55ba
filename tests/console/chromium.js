// Starts headless Chromium for one of the scripts beside it, and prints what that has seen as JSON,
// a line. Chromium is $CHROMIUM, and its profile goes to $PROFILE.
'use strict';

const readline = require('readline');
const puppeteer = require('puppeteer-core');

async function see(work) {
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM,
    userDataDir: process.env.PROFILE,
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
  });
  try {
    console.log(JSON.stringify(await work(browser, process.argv.slice(2))));
  } finally {
    await browser.close();
  }
}

// The browser's first page, as somebody who has logged in. The cookie is set once, before there is a
// page that asks for something: puppeteer takes it away to set it, and who asks in between is nobody.
exports.known = async (browser, base, cookie) => {
  const [page] = await browser.pages();
  const [name, value] = cookie.split('=');
  if (value) await page.setCookie({ name, value, url: base });
  return page;
};

// For a script in the middle of which something is to happen: it prints what as JSON, and goes on when
// it is told so by a line. Who tells it is gone with his end of the pipe.
exports.happening = async (work) => {
  const lines = readline.createInterface({ input: process.stdin });
  lines.on('close', () => process.exit(1));
  const happens = async (what) => {
    console.log(JSON.stringify({ happens: what }));
    await new Promise((heard) => { lines.once('line', heard); });
  };
  try {
    return await work(happens);
  } finally {
    lines.removeAllListeners('close');
    lines.close();
  }
};

// What goes wrong on a page is told with what it says.
exports.told = (page, working) => working.catch(async (error) => {
  const text = await page.$eval('body', (body) => body.innerText).catch(String);
  throw new Error(`${error}\nat ${page.url()}, which says\n${text}`);
});

// Work gets the browser, and the arguments of the script.
exports.run = (work) => see(work).catch((error) => {
  console.error(error);
  process.exit(1);
});
