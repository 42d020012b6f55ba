// Opens a dialog of the console in headless Chromium, and waits until the page has heard what came
// of the rehearsal that it asks for by itself. Events do not reach it: whatever is another then has
// come with that answer. Prints what the form would do, as JSON.
//
//   node dialog.js BASE_URL COOKIE PATH
'use strict';

const { known, run } = require('./chromium.js');

run(async (browser, [base, cookie, path]) => {
  const page = await known(browser, base, cookie);
  await page.setRequestInterception(true);
  page.on('request', (request) => {
    if (request.url().includes('/events')) request.abort();
    else request.continue();
  });
  await page.evaluateOnNewDocument(() => {
    document.addEventListener('htmx:afterSettle', ({ detail }) => {
      document.heard ||= detail.requestConfig.verb === 'post';
    });
  });
  await page.goto(base + path, { waitUntil: 'domcontentloaded', timeout: 60000 });
  await page.waitForFunction(() => document.heard, { timeout: 60000 });
  return page.$eval('input[name=mode][value=force]', ({ form }) => ({
    chosen: new FormData(form).get('mode'),
    choices: [...form.querySelectorAll('[name=mode]')].map((choice) => choice.value),
  }));
});
