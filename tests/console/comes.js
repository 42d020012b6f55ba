// Looks at a page of the console in headless Chromium until something that is there at first is not
// any more, because something has happened meanwhile, and something else has come. Prints how often
// the page was loaded anew, as JSON.
//
//   node comes.js BASE_URL COOKIE PATH GOES COMES
//
// GOES and COMES are selectors; `SELECTOR = TEXT` is one with a text in it.
'use strict';

const { happening, known, run } = require('./chromium.js');

const PATIENCE = { timeout: 60000, polling: 100 };

const is = (page, wanted, there) => {
  const [selector, text] = wanted.split(' = ');
  return page.waitForFunction((of, words, is) => {
    const all = [...document.querySelectorAll(of)];
    return all.some((part) => !words || part.innerText.includes(words)) === is;
  }, PATIENCE, selector, text, there).catch(async (error) => {
    const said = await page.$eval('main', (main) => main.outerHTML).catch(String);
    throw new Error(`${wanted} ${there}: ${error}\n${said}`);
  });
};

run(async (browser, [base, cookie, path, goes, comes]) => {
  const page = await known(browser, base, cookie);
  let loads = -1;
  page.on('domcontentloaded', () => { loads += 1; });
  const listens = page.waitForRequest((request) => request.url().includes('/events'));
  await page.goto(base + path, { waitUntil: 'domcontentloaded', timeout: 60000 });
  await listens;
  await is(page, goes, true);
  await happening((happens) => happens('it'));
  await is(page, comes, true);
  await is(page, goes, false);
  return { loads };
});
