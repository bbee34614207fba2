/** What a first visit costs, as counts that do not depend on the machine, and what a second visit saves. */
import type { Page } from "@playwright/test";
/** The network and CPU of a mid-range phone, as in Lighthouse: slow enough for every intermediate layout to be painted. */
import phone from "./phone.json" with { type: "json" };
import { buyViaApi, expect, test } from "./stack";

interface Visit {
  /** Compressed, with headers. */
  bytes: number;
  requests: number;
  /** The number of function calls in the scripts of the page. */
  calls: number;
  /** The cumulative layout shift. */
  shift: number;
}

async function visit(page: Page, path: string, ready: () => Promise<void>): Promise<Visit> {
  const browser = await page.context().newCDPSession(page);
  await browser.send("Network.enable");
  await browser.send("Network.emulateNetworkConditions", phone.network);
  await browser.send("Emulation.setCPUThrottlingRate", { rate: phone.cpuSlowdown });
  await browser.send("Profiler.enable");
  await browser.send("Profiler.startPreciseCoverage", { callCount: true, detailed: false });
  let bytes = 0;
  let requests = 0;
  browser.on("Network.requestWillBeSent", () => (requests += 1));
  browser.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
  await page.addInitScript(() => {
    Object.assign(window, { shift: 0 });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries() as (PerformanceEntry & { value: number; hadRecentInput: boolean })[]) {
        (window as unknown as { shift: number }).shift += entry.hadRecentInput ? 0 : entry.value;
      }
    }).observe({ type: "layout-shift", buffered: true });
  });
  await page.goto(path);
  await ready();
  // The shifts of the last response are known two frames later.
  await page.evaluate(() => new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted))));
  const shift = await page.evaluate(() => (window as unknown as { shift: number }).shift);
  const { result } = await browser.send("Profiler.takePreciseCoverage");
  const functions = result.filter(({ url }) => url.includes("/assets/")).flatMap((script) => script.functions);
  const calls = functions.reduce((sum, { ranges }) => sum + (ranges[0]?.count ?? 0), 0);
  return { bytes, requests, calls, shift };
}

// The limits are a little above the measured values. Calls of the sales page also depend on what the log contains.
for (const [path, width, most] of [
  ["/", 1280, { bytes: 27_000, requests: 9, calls: 600 }],
  ["/", 360, { bytes: 27_000, requests: 9, calls: 600 }],
  ["/sales.html", 1280, { bytes: 60_000, requests: 20, calls: 40_000 }],
  ["/sales.html", 360, { bytes: 60_000, requests: 20, calls: 40_000 }],
  ["/verify.html", 360, { bytes: 21_000, requests: 8, calls: 300 }],
  ["receipt", 360, { bytes: 27_500, requests: 10, calls: 1_500 }],
] as const) {
  test(`a first visit of ${path}, ${width} px wide, is small and does not shift its layout`, async ({ page, request }) => {
    await page.setViewportSize({ width, height: 740 });
    let address: string = path;
    if (path === "receipt") {
      const response = await request.post("/api/buy_mpi", { data: { license: "pro" } });
      address = `/#receipt=${((await response.json()) as { purchase_id: string }).purchase_id}`;
    } else {
      await buyViaApi(request, "pro");
    }
    const measured = await visit(page, address, async () => {
      await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
      if (path === "/sales.html") {
        await expect(page.getByTestId("count")).not.toHaveText("–");
        await expect(page.getByTestId("today-count")).not.toHaveText("–");
        await expect(page.getByTestId("latest").getByRole("row").first()).not.toContainText("–");
        await expect(page.getByTestId("plot").locator("canvas").first()).toBeVisible();
      }
      if (path === "receipt") {
        await expect(page.getByTestId("key")).toHaveText(/\./);
      }
    });
    test.info().annotations.push({ type: "measured", description: JSON.stringify(measured) });
    expect(measured.shift).toBe(0);
    expect(measured.bytes).toBeLessThanOrEqual(most.bytes);
    expect(measured.requests).toBeLessThanOrEqual(most.requests);
    expect(measured.calls).toBeLessThanOrEqual(most.calls);
  });
}

test("a purchase updates only the parts of the sales page that change", async ({ page, request }) => {
  await buyViaApi(request, "pro");
  await page.goto("/sales.html");
  await expect(page.getByTestId("health")).toHaveText("Live");
  await expect(page.getByTestId("today-count")).toHaveText(/ Verk/);
  await expect(page.getByTestId("history-summary")).toHaveText(/ Verk/);
  await expect(page.getByTestId("latest").getByRole("row").first()).not.toContainText("–");
  const [today, summary] = [page.getByTestId("today-count"), page.getByTestId("history-summary")];
  const before = [await today.innerText(), await summary.innerText()] as const;

  // Every changed text is one mutation. The age of the figures changes every second, so it does not count.
  const mutations = await page.evaluateHandle(() => {
    const seen = { count: 0 };
    const isAge = ({ target }: MutationRecord): boolean => (target as Element).closest('[data-part="age"]') !== null;
    new MutationObserver((records) => {
      seen.count += records.filter((record) => !isAge(record)).length;
    }).observe(document.body, { subtree: true, childList: true });
    return seen;
  });
  let requests = 0;
  page.on("request", (sent) => (requests += /\/api\/sales\/(history|latest)\?/.test(sent.url()) ? 1 : 0));
  await buyViaApi(request, "pro");
  await expect(today).not.toHaveText(before[0]);
  await expect(summary).not.toHaveText(before[1]);
  const { count } = await mutations.jsonValue();
  expect(count).toBeLessThanOrEqual(30);
  // The latest purchases, the chart and the comparison of days; the latter two once more if a minute begins.
  expect(requests).toBeLessThanOrEqual(5);
});

test("a second visit revalidates the page, and loads the assets from the cache", async ({ page }) => {
  await page.goto("/sales.html");
  await expect(page.getByTestId("plot").locator("canvas").first()).toBeVisible();
  const again = await page.goto("/sales.html");
  expect(again?.headers()["cache-control"]).toBe("no-cache");
  await expect(page.getByTestId("plot").locator("canvas").first()).toBeVisible();
  // A cached response has no transfer size.
  const assets = await page.evaluate(() =>
    (performance.getEntriesByType("resource") as PerformanceResourceTiming[])
      .filter(({ name }) => name.includes("/assets/"))
      .map(({ name, transferSize }) => ({ name, transferSize })),
  );
  expect(assets.length).toBeGreaterThan(3);
  expect(assets.filter(({ transferSize }) => transferSize > 0)).toEqual([]);
});

test("pages and scripts are compressed, and only assets with a hash in their name are immutable", async ({ request }) => {
  const page = await request.get("/sales.html", { headers: { "Accept-Encoding": "br" } });
  expect(page.headers()["content-encoding"]).toBe("br");
  const script = /src="(\/assets\/[^"]+\.js)"/.exec(await page.text())?.[1] ?? "";
  const answer = await request.get(script, { headers: { "Accept-Encoding": "gzip, br" } });
  expect(answer.headers()).toMatchObject({
    "content-encoding": "br",
    "cache-control": "public, max-age=31536000, immutable",
  });
});
