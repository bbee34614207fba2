/** What a first visit costs, and what the second one saves. */
import type { Page } from "@playwright/test";
import { buyViaApi, expect, test } from "./stack";

const MOST_BYTES = 60_000;
/** What counts as good: https://web.dev/articles/lcp, https://web.dev/articles/tbt */
const LARGEST_PAINT_MS = 2_500;
const BLOCKED_MS = 200;
/** The connection and the processor of a mid-range phone, as Lighthouse supposes them. */
const PHONE = { latency: 150, downloadThroughput: 1_638_400 / 8, uploadThroughput: 675_000 / 8, offline: false };
const SLOWER = 4;

interface Visit {
  bytes: number;
  largestPaintMs: number;
  shift: number;
  blockedMs: number;
}

async function visit(page: Page, path: string, ready: () => Promise<void>): Promise<Visit> {
  const browser = await page.context().newCDPSession(page);
  await browser.send("Network.enable");
  await browser.send("Network.emulateNetworkConditions", PHONE);
  await browser.send("Emulation.setCPUThrottlingRate", { rate: SLOWER });
  let bytes = 0;
  browser.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
  await page.addInitScript(() => {
    const seen = { largestPaintMs: 0, shift: 0, blockedMs: 0 };
    Object.assign(window, { seen });
    new PerformanceObserver((list) => {
      seen.largestPaintMs = list.getEntries().at(-1)?.startTime ?? 0;
    }).observe({ type: "largest-contentful-paint", buffered: true });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries() as (PerformanceEntry & { value: number; hadRecentInput: boolean })[]) {
        seen.shift += entry.hadRecentInput ? 0 : entry.value;
      }
    }).observe({ type: "layout-shift", buffered: true });
    new PerformanceObserver((list) => {
      const paintedAt = performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? Infinity;
      for (const { startTime, duration } of list.getEntries()) {
        seen.blockedMs += startTime < paintedAt ? 0 : duration - 50;
      }
    }).observe({ type: "longtask", buffered: true });
  });
  await page.goto(path);
  await ready();
  // Two frames later whatever the last answer moves has moved.
  await page.evaluate(() => new Promise((moved) => requestAnimationFrame(() => requestAnimationFrame(moved))));
  const seen = await page.evaluate(() => (window as unknown as { seen: Omit<Visit, "bytes"> }).seen);
  return { bytes, ...seen };
}

for (const [path, width] of [
  ["/", 1280],
  ["/", 360],
  ["/sales.html", 1280],
  ["/sales.html", 360],
  ["/verify.html", 360],
  ["receipt", 360],
] as const) {
  test(`a first visit of ${path}, ${width} px wide, is small and quick, and nothing moves`, async ({ page, request }) => {
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
    expect(measured.bytes).toBeLessThan(MOST_BYTES);
    expect(measured.shift).toBe(0);
    expect(measured.largestPaintMs).toBeLessThan(LARGEST_PAINT_MS);
    expect(measured.blockedMs).toBeLessThan(BLOCKED_MS);
  });
}

test("a second visit asks whether the page has changed, and loads nothing else again", async ({ page }) => {
  await page.goto("/sales.html");
  await expect(page.getByTestId("plot").locator("canvas").first()).toBeVisible();
  const again = await page.goto("/sales.html");
  expect(again?.headers()["cache-control"]).toBe("no-cache");
  await expect(page.getByTestId("plot").locator("canvas").first()).toBeVisible();
  // What comes out of the cache transfers nothing.
  const assets = await page.evaluate(() =>
    (performance.getEntriesByType("resource") as PerformanceResourceTiming[])
      .filter(({ name }) => name.includes("/assets/"))
      .map(({ name, transferSize }) => ({ name, transferSize })),
  );
  expect(assets.length).toBeGreaterThan(3);
  expect(assets.filter(({ transferSize }) => transferSize > 0)).toEqual([]);
});

test("pages and scripts are sent compressed, and only hashed names are kept for ever", async ({ request }) => {
  const page = await request.get("/sales.html", { headers: { "Accept-Encoding": "br" } });
  expect(page.headers()["content-encoding"]).toBe("br");
  const script = /src="(\/assets\/[^"]+\.js)"/.exec(await page.text())?.[1] ?? "";
  const answer = await request.get(script, { headers: { "Accept-Encoding": "gzip, br" } });
  expect(answer.headers()).toMatchObject({
    "content-encoding": "br",
    "cache-control": "public, max-age=31536000, immutable",
  });
});
