// Does in headless Chromium, by the mouse, what somebody does who has only read how a proxy is
// restarted: logs in, opens the cluster, restarts one proxy, then two that are ticked, then the
// whole cluster, and waits on each task's page until it says that it is completed. Prints what was
// seen, and what went wrong on the way, as JSON.
//
//   node operator.js BASE_URL '' USER PASSWORD
'use strict';

const { run, told } = require('./chromium.js');

// Three proxies one after the other, each watched for a while, beside everything else.
const PATIENCE = { timeout: 120000 };
const LOADED = { waitUntil: 'domcontentloaded', timeout: 60000 };

// What a person would press: it is shown, it says just this, and it is not disabled.
const shown = (text, within) => {
  const all = document.querySelectorAll('a, button, summary');
  return [...all].find((it) => it.innerText.trim() === text && it.checkVisibility()
    && !it.disabled && (!within || it.closest(within)));
};

class Operator {
  constructor(page) {
    this.page = page;
    this.troubles = [];
    this.loads = 0;
    page.on('pageerror', (error) => this.troubles.push(`script: ${error}`));
    page.on('domcontentloaded', () => { this.loads += 1; });
    page.on('response', (response) => {
      if (response.status() >= 400) this.troubles.push(`${response.status()} ${response.url()}`);
    });
  }

  async find(text, within) {
    const found = await this.page.waitForFunction(shown, PATIENCE, text, within);
    return found.asElement();
  }

  async press(text, within) {
    await (await this.find(text, within)).click();
  }

  // The same where another page comes then.
  async follow(text, within) {
    const control = await this.find(text, within);
    await Promise.all([this.page.waitForNavigation(LOADED), control.click()]);
  }

  async sees(selector, ...texts) {
    for (const text of texts) {
      await this.page.waitForFunction((of, words) => {
        const part = document.querySelector(of);
        return part && part.innerText.includes(words);
      }, PATIENCE, selector, text);
    }
    return this.page.$eval(selector, (part) => part.innerText);
  }

  // What is there to be copied, whether it is unfolded or not.
  async reads(selector, text) {
    await this.page.waitForFunction((of, words) => {
      const part = document.querySelector(of);
      return part && part.textContent.includes(words);
    }, PATIENCE, selector, text);
  }

  async logIn(base, user, password) {
    await this.page.goto(base, LOADED);
    await this.page.type('#user', user);
    await this.page.type('#password', password);
    await this.follow('Log in');
  }

  async openCluster() {
    await this.follow('Clusters', 'nav');
    await this.follow('main', 'main');
  }

  // From the dialog to the end of the task; how often its page was loaded anew meanwhile.
  async restart(asked, willing, ...ends) {
    await this.sees(asked, willing);
    await this.follow('Restart', '.buttons');
    const before = this.loads;
    const said = await this.sees('#task', ...ends);
    return { path: new URL(this.page.url()).pathname, said, loads: this.loads - before };
  }
}

async function work(operator, base, user, password) {
  const { page } = operator;
  const seen = {};
  await operator.logIn(base, user, password);
  await operator.openCluster();
  await operator.press('More', 'tr');
  await operator.follow('Restart', 'details[open]');
  const renewed = 'This page is served by the new process now';
  seen.one = await operator.restart('#rehearsal', 'would move', 'Completed', renewed);
  await operator.openCluster();
  seen.status = await operator.sees('main', 'RUNNING');
  for (const name of ['b', 'c']) await page.click(`input[name=proxy][value=${name}]`);
  await operator.follow('Batch Restart');
  const of = (count) => `${count} of ${count} proxies`;
  seen.batch = await operator.restart('#rehearsals', of(2), 'Completed', `${of(2)} done`);
  await operator.openCluster();
  await operator.follow('Restart Cluster');
  await page.click('input[value=force]');
  await operator.reads('#ways', 'RESTART FLEET FORCE');
  await page.click('input[value=restart]');
  await operator.reads('#ways', 'RESTART FLEET CLUSTER');
  seen.all = await operator.restart('#rehearsals', of(3), 'Completed', `${of(3)} done`, renewed);
  return seen;
}

run(async (browser, [base, , user, password]) => {
  const page = await browser.newPage();
  await page.setViewport({ width: 1280, height: 900 });
  const operator = new Operator(page);
  const seen = await told(page, work(operator, base, user, password));
  return { ...seen, troubles: operator.troubles };
});
