// Looks at pages of the console in headless Chromium with axe-core, and prints what it finds as
// JSON, and which pages are wider than the window.
//
//   node axe.js BASE_URL COOKIE LOOKS PATH...
//
// LOOKS are widths with colours: 360-light,1024-dark.
'use strict';

const axe = require('axe-core');
const { known, run } = require('./chromium.js');

const GRAVE = ['serious', 'critical'];

async function look(page) {
  const found = await page.evaluate(() => axe.run(document, {
    resultTypes: ['violations'],
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
  }));
  return found.violations.map(({ id, impact, help, nodes }) => ({
    id, impact, help, nodes: nodes.map((node) => node.html.slice(0, 300)).slice(0, 5),
  }));
}

// How many pixels of the page are beside the window.
const beside = () => {
  const { scrollWidth, clientWidth } = document.documentElement;
  return scrollWidth - clientWidth;
};

run(async (browser, [base, cookie, as, ...paths]) => {
  const findings = [];
  const wide = [];
  let looks = 0;
  const page = await known(browser, base, cookie);
  // axe is not the console's own, and its policy would keep it out.
  await page.setBypassCSP(true);
  for (const one of as.split(',')) {
    const [width, colours] = one.split('-');
    await page.setViewport({ width: Number(width), height: 900 });
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: colours }]);
    for (const path of paths) {
      looks += 1;
      await page.goto(base + path, { waitUntil: 'domcontentloaded', timeout: 60000 });
      await page.evaluate(axe.source);
      const closed = await look(page);
      // Whatever can be opened is open.
      await page.evaluate(() => document.querySelectorAll('details').forEach((it) => {
        it.open = true;
      }));
      for (const violation of [...closed, ...await look(page)]) {
        findings.push({ path, width, colours, ...violation });
      }
      const pixels = await page.evaluate(beside);
      if (pixels > 0) wide.push({ path, width, pixels });
    }
  }
  const grave = findings.filter((finding) => GRAVE.includes(finding.impact));
  return { looks, grave, wide, slight: findings.length - grave.length,
    kinds: [...new Set(findings.map((finding) => `${finding.impact} ${finding.id}`))] };
});
