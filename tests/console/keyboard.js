// Does in headless Chromium, by Tab, Enter and Space only, what somebody does who has no mouse:
// logs in, skips to the page, opens the cluster, and restarts a proxy. Prints what had the focus on
// the way and did not show it, as JSON.
//
//   node keyboard.js BASE_URL '' USER PASSWORD
'use strict';

const { run, told } = require('./chromium.js');

const PATIENCE = { timeout: 60000 };
const LOADED = { waitUntil: 'domcontentloaded', timeout: 60000 };

// More controls than any of these pages has.
const MANY = 80;

// What has the focus: what it says, whether it is in the page's main part, and whether a person
// sees that it has it.
const focused = () => {
  const it = document.activeElement;
  const box = it.getBoundingClientRect();
  const { outlineStyle, outlineWidth } = getComputedStyle(it);
  const top = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
  return {
    says: (it.value && it.type === 'radio' ? it.value : it.innerText || it.name || '').trim(),
    tag: it.tagName.toLowerCase(),
    kind: it.className,
    isInMain: Boolean(it.closest('main')),
    isShown: it.matches(':focus-visible') && outlineStyle !== 'none'
      && parseFloat(outlineWidth) >= 2 && box.left >= 0 && box.top >= 0
      && box.right <= window.innerWidth && box.bottom <= window.innerHeight
      && Boolean(top) && (it.contains(top) || top.contains(it)),
  };
};

class Typist {
  constructor(page) {
    this.page = page;
    this.unseen = [];
  }

  async tab() {
    await this.page.keyboard.press('Tab');
    const it = await this.page.evaluate(focused);
    if (it.tag !== 'body' && !it.isShown) {
      this.unseen.push(`${new URL(this.page.url()).pathname}: ${it.tag} ${it.says}`);
    }
    return it;
  }

  // To what is of this kind and says just this.
  async tabTo(tag, says) {
    const passed = [];
    for (let count = 0; count < MANY; count += 1) {
      const it = await this.tab();
      if (it.tag === tag && it.says === says) return it;
      passed.push(`${it.tag} ${it.says}`);
    }
    throw new Error(`no ${tag} ${says}: ${passed.join(' | ')}`);
  }

  async follow(key) {
    await Promise.all([this.page.waitForNavigation(LOADED), this.page.keyboard.press(key)]);
  }

  async sees(selector, text) {
    await this.page.waitForFunction((of, words) => {
      const part = document.querySelector(of);
      return part && part.innerText.includes(words);
    }, PATIENCE, selector, text);
  }
}

async function work(typist, base, user, password) {
  const { page } = typist;
  await page.goto(base, LOADED);
  // The first field has the focus by itself.
  await page.waitForFunction(() => document.activeElement.id === 'user', PATIENCE);
  await page.keyboard.type(user);
  await typist.tab();
  await page.keyboard.type(password);
  await typist.tabTo('button', 'Log in');
  await typist.follow('Enter');
  const skip = await typist.tab();
  await page.keyboard.press('Enter');
  const skipped = await typist.tabTo('a', 'main');
  await typist.follow('Enter');
  await typist.tabTo('summary', 'More');
  await page.keyboard.press('Space');
  await typist.tabTo('a', 'Restart');
  await typist.follow('Enter');
  await typist.sees('#rehearsal', 'would move');
  await typist.tabTo('input', 'restart');
  await page.keyboard.press('Space');
  await typist.tabTo('button', 'Restart');
  await typist.follow('Enter');
  await typist.sees('#task', 'Completed');
  await typist.sees('#task', 'This page is served by the new process now');
  return { skip, skipped, path: new URL(page.url()).pathname };
}

run(async (browser, [base, , user, password]) => {
  const page = await browser.newPage();
  await page.setViewport({ width: 1280, height: 800 });
  const typist = new Typist(page);
  const seen = await told(page, work(typist, base, user, password));
  return { ...seen, unseen: typist.unseen };
});
