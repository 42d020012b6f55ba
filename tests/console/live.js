// Looks at the Overview of a fleet of two in headless Chromium while things happen to it, and never
// loads it anew. At the end it prints what was seen.
//
//   node live.js BASE_URL COOKIE
'use strict';

const { happening, known, run } = require('./chromium.js');

// What is behind another page is not drawn, which is what would be waited for else.
const PATIENCE = { timeout: 60000, polling: 200 };
const LOADED = { waitUntil: 'domcontentloaded', timeout: 60000 };

// How many points its lines have.
const points = () => [...document.querySelectorAll('#charts polyline')]
  .map((line) => line.getAttribute('points').trim().split(/\s+/).length)
  .reduce((sum, count) => sum + count, 0);

class Looker {
  constructor(page) {
    this.page = page;
    this.loads = -1;
    this.listened = [];
    this.troubles = [];
    page.on('domcontentloaded', () => { this.loads += 1; });
    page.on('pageerror', (error) => this.troubles.push(`script: ${error}`));
  }

  // What was heard last, as each request for events says it.
  async listen() {
    const session = await this.page.createCDPSession();
    await session.send('Network.enable');
    session.on('Network.requestWillBeSentExtraInfo', ({ headers }) => {
      if (headers.Accept === 'text/event-stream') {
        this.listened.push(headers['Last-Event-ID'] || '');
      }
    });
  }

  async waitFor(what, is, ...values) {
    await this.page.waitForFunction(is, PATIENCE, ...values).catch(async (error) => {
      const text = await this.page.$eval('body', (body) => body.innerText).catch(String);
      throw new Error(`${what}: ${error}\n${this.page.url()} says\n${text}`);
    });
  }

  sees(selector, text) {
    return this.waitFor(`${selector} ${text}`, (of, words) => {
      const part = document.querySelector(of);
      return part && part.innerText.includes(words);
    }, selector, text);
  }

  async grows() {
    const before = await this.page.evaluate(points);
    await this.waitFor(`more than ${before} points`, `(${points})() > ${before}`);
  }
}

async function look(happens, whole, own) {
  await whole.sees('#f0-status', 'RUNNING');
  await whole.sees('#f1-status', 'RUNNING');
  await Promise.all([whole.grows(), own.grows()]);
  await happens('kill');
  await whole.sees('#f1-status', 'UNREACHABLE');
  await whole.sees('#f-counts', '1 UNREACHABLE b');
  await happens('start');
  await whole.sees('#f1-status', 'RUNNING');
  await whole.sees('#f-counts', '2 of 2 running');
  const pid = () => whole.page.$eval('#f0-pid', (cell) => cell.innerText);
  const before = await pid();
  await happens('restart');
  await whole.waitFor('another process', (old) => {
    const cell = document.querySelector('#f0-pid');
    return cell && cell.innerText !== old;
  }, before);
  // What is told now is told by the new process.
  await happens('offline');
  await whole.sees('#f0-status', 'OFFLINE');
  return { before, after: await pid() };
}

run(async (browser, [base, cookie]) => {
  await known(browser, base, cookie);
  const open = async (path) => {
    const page = await browser.newPage();
    const looker = new Looker(page);
    await looker.listen();
    await page.goto(base + path, LOADED);
    return looker;
  };
  const own = await open('/clusters/main?hour=own');
  const whole = await open('/clusters/main');
  const seen = await happening((happens) => look(happens, whole, own));
  const { loads, listened, troubles } = whole;
  return { ...seen, loads, listened, troubles };
});
