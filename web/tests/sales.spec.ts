import { readFile } from "node:fs/promises";
import type { Page } from "@playwright/test";
import { buyViaApi, buyFromAnotherProcess, expect, readTotals, test } from "./stack";

const german = (value: number): string => value.toLocaleString("de-DE");

test("the figures update without a reload when another customer buys", async ({ page, request }) => {
  const before = await readTotals(request, await buyViaApi(request, "basic"));
  await page.goto("/sales.html");
  await expect(page.getByTestId("count")).toHaveText(german(before.sales_count));
  await expect(page.getByTestId("health")).toHaveText("Live");
  const pro = page.getByRole("row", { name: /^Pro/ }).getByTestId("license-count");
  const proBefore = Number((await pro.innerText()).replaceAll(".", ""));

  let loads = 0;
  page.on("load", () => (loads += 1));
  const position = await buyViaApi(request, "pro");
  await expect(page.getByTestId("count")).toHaveText(german(before.sales_count + 1));
  await expect(page.getByTestId("revenue")).toHaveText(
    new Intl.NumberFormat("de-DE", { style: "currency", currency: "EUR" }).format(
      (before.revenue.amount_minor + 19_900) / 100,
    ),
  );
  await expect(pro).toHaveText(german(proBefore + 1));
  await expect(page.getByTestId("position")).toHaveText(german(position));
  expect(loads).toBe(0);
});

test("in an open system no one has to sign in, and everyone may reset", async ({ page }) => {
  await page.goto("/sales.html");
  await expect(page.getByTestId("health")).toHaveText("Live");
  await expect(page.getByRole("button", { name: "Zurücksetzen …" })).toBeVisible();
  for (const part of ["sign-in", "no-access", "account", "sign-in-failure"]) {
    await expect(page.getByTestId(part)).toBeHidden();
  }
});

test("a reset asks for confirmation, and does nothing if it is cancelled", async ({ page, request }) => {
  const before = await readTotals(request, await buyViaApi(request, "basic"));
  await page.goto("/sales.html");
  await page.getByRole("button", { name: "Zurücksetzen …" }).click();
  const dialog = page.getByRole("dialog", { name: "Verkaufszahlen zurücksetzen?" });
  await dialog.getByRole("button", { name: "Abbrechen" }).click();
  await expect(dialog).toBeHidden();

  await page.getByRole("button", { name: "Zurücksetzen …" }).click();
  await page.keyboard.press("Escape");
  await expect(dialog).toBeHidden();

  const after = await readTotals(request, await buyViaApi(request, "basic"));
  expect(after.sales_count).toBe(before.sales_count + 1);
});

test("a confirmed reset shows zero, and the next sale is counted from zero", async ({ page, request }) => {
  await buyViaApi(request, "enterprise");
  await page.goto("/sales.html");
  await expect(page.getByTestId("count")).not.toHaveText(/^[–0]$/);

  await page.getByRole("button", { name: "Zurücksetzen …" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Zurücksetzen" }).click();
  await expect(page.getByTestId("count")).toHaveText("0");
  await expect(page.getByTestId("revenue")).toHaveText("0,00 €");
  await expect(page.getByTestId("reset-done")).toHaveText(/^Zurückgesetzt am /);
  await expect(page.getByTestId("message")).toHaveText("Seit dem letzten Zurücksetzen wurde noch nichts verkauft.");

  await buyViaApi(request, "basic");
  await expect(page.getByTestId("count")).toHaveText("1");
  await expect(page.getByTestId("revenue")).toHaveText("49,00 €");
});

test("each new purchase is highlighted", async ({ page, request }) => {
  await buyViaApi(request, "basic");
  await page.goto("/sales.html");
  const latest = page.getByTestId("latest");
  await expect(latest.getByRole("row").first()).not.toContainText("–");
  await expect(page.getByTestId("health")).toHaveText("Live");
  const arrivals = await latest.evaluateHandle((rows) => {
    const seen: string[] = [];
    rows.addEventListener("animationstart", (event) => seen.push((event as AnimationEvent).animationName));
    return seen;
  });
  for (const purchases of [1, 2, 3]) {
    await buyViaApi(request, "pro");
    // One animation per cell of the row.
    await expect.poll(() => arrivals.jsonValue()).toHaveLength(3 * purchases);
  }
});

const shownNumber = async (page: Page, part: string): Promise<number> =>
  Number((await page.getByTestId(part).first().innerText()).replace(/ .*/u, "").replaceAll(".", ""));

test("all panels update while another process buys", async ({ page, request, baseURL }) => {
  await buyViaApi(request, "basic");
  await page.goto("/sales.html");
  await expect(page.getByTestId("health")).toHaveText("Live");
  await expect(page.getByTestId("count")).toHaveText(/^[\d.]+$/);
  await expect(page.getByTestId("today-count")).toHaveText(/ Verk/);
  await expect(page.getByTestId("history-summary")).toHaveText(/ Verk/);
  const [count, today] = [await shownNumber(page, "count"), await shownNumber(page, "today-count")];
  const newest = page.getByTestId("latest").getByRole("row").first();

  const buying = buyFromAnotherProcess(baseURL ?? "", "enterprise", 40);
  // Updates arrive before the last purchase.
  await expect.poll(() => shownNumber(page, "count")).toBeGreaterThan(count);
  await buying;
  await expect(page.getByTestId("count")).toHaveText(german(count + 40));
  await expect(page.getByTestId("today-count")).toHaveText(`${german(today + 40)} Verkäufe`);
  await expect(newest).toContainText("Enterprise");
  await expect(newest).toContainText("999,00 €");
  const shares = await page.getByTestId("license-share").allInnerTexts();
  const percents = shares.map((share) => Number(share.replace(/\D/g, "")));
  expect(Math.abs(percents.reduce((sum, share) => sum + share, 0) - 100)).toBeLessThanOrEqual(1);

  await page.getByText("Als Tabelle").click();
  const counts = page.getByTestId("series").locator("td:nth-child(2)");
  const sum = async (): Promise<number> => (await counts.allInnerTexts()).map(Number).reduce((total, each) => total + each, 0);
  await expect.poll(sum).toBeGreaterThanOrEqual(40);
});

test("a hidden page sends no requests, and updates when it becomes visible", async ({ page, request }) => {
  await page.clock.install();
  await page.goto("/sales.html");
  await expect(page.getByTestId("health")).toHaveText("Live");
  await expect(page.getByTestId("latest").getByRole("row").first()).not.toContainText("–");
  await expect(page.getByTestId("history-summary")).toHaveText(/ Verk/);
  const count = await shownNumber(page, "count");
  // In a headless browser all tabs are visible.
  const turn = (hidden: boolean): Promise<void> =>
    page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, value: hidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);

  const disconnected = page.waitForEvent("requestfailed", (failed) => failed.url().endsWith("/api/sales/stream"));
  await turn(true);
  await disconnected;
  const asked: string[] = [];
  page.on("request", (sent) => asked.push(new URL(sent.url()).pathname));
  await readTotals(request, await buyViaApi(request, "pro"));
  // Requests of these two minutes would be reported before the last one.
  await page.clock.fastForward("02:00");
  await page.evaluate(() => fetch("/api/session"));
  expect(asked).toEqual(["/api/session"]);
  expect(await shownNumber(page, "count")).toBe(count);

  await turn(false);
  await expect(page.getByTestId("count")).toHaveText(german(count + 1));
});

test("all windows share one stream, and another one takes over when its window is closed", async ({ context, request }) => {
  const streams: string[] = [];
  context.on("request", (sent) => {
    if (new URL(sent.url()).pathname === "/api/sales/stream") {
      streams.push(sent.url());
    }
  });
  const { sales_count } = await readTotals(request, await buyViaApi(request, "basic"));
  // One more than the connections of a browser to a host.
  const windows: Page[] = [];
  for (let opened = 0; opened < 7; opened += 1) {
    const window = await context.newPage();
    await window.goto("/sales.html");
    await expect(window.getByTestId("health")).toHaveText("Live");
    await expect(window.getByTestId("count")).toHaveText(german(sales_count));
    windows.push(window);
  }
  expect(streams).toHaveLength(1);
  const shop = await context.newPage();
  await shop.goto("/");
  await expect(shop.getByRole("button", { name: /kaufen/i }).first()).toBeVisible();

  await windows.shift()?.close();
  await buyViaApi(request, "pro");
  for (const window of windows) {
    await expect(window.getByTestId("count")).toHaveText(german(sales_count + 1));
  }
  expect(streams).toHaveLength(2);
});

test("a window that opens while no other one reads the stream gets the figures from the next reader", async ({ context }) => {
  const open = async (): Promise<Page> => {
    const window = await context.newPage();
    await window.goto("/sales.html");
    return window;
  };
  const reader = await open();
  await expect(reader.getByTestId("health")).toHaveText("Live");
  const count = await reader.getByTestId("count").innerText();
  // The next in the queue is not a window that reads.
  const between = await context.newPage();
  await between.goto("/");
  await between.evaluate(() => {
    void navigator.locks.request("totals", () => {
      document.title = "locked";
      return new Promise((end) => {
        addEventListener("end", end);
      });
    });
  });
  const next = await open();
  await expect(next.getByTestId("count")).toHaveText(count);

  await reader.close();
  await expect(between).toHaveTitle("locked");
  const joined = await open();
  await joined.waitForFunction(async () => (await navigator.locks.query()).pending?.length === 2);
  await between.evaluate(() => dispatchEvent(new Event("end")));
  await expect(joined.getByTestId("count")).toHaveText(count);
});

test("today is compared with yesterday up to the same time of day", async ({ page }) => {
  // 02:45 on the day after the clocks went back, when 02:30 occurred twice.
  await page.clock.install({ time: "2026-10-26T01:45:00Z" });
  await page.goto("/sales.html");
  await expect(page.getByTestId("today-revenue")).toHaveText("999,00 €");
  await expect(page.getByTestId("today-count")).toHaveText("1 Verkauf");
  await expect(page.getByTestId("today-comparison")).toHaveText(/^Gestern bis 02:45: 1\.397,00\s€ \(-28\s%\)$/);
  await expect(page.getByTestId("yesterday-revenue")).toHaveText("1.446,00 €");
  await expect(page.getByTestId("yesterday-count")).toHaveText("4 Verkäufe");
});

/** The sales around the end of summer time are recorded before the tests start. */
async function chooseDay(page: Page, interval: string): Promise<void> {
  await page.goto("/sales.html");
  await page.getByRole("radio", { name: interval }).check();
  await page.getByLabel("Tag", { exact: true }).fill("2026-10-25");
  await page.getByText("Als Tabelle").click();
}

test("the day on which the clocks go back has 25 hours, two of them with the same local time", async ({ page }) => {
  await chooseDay(page, "Stunden");
  await expect(page.getByTestId("history-summary")).toHaveText(
    "25. Okt., 00:00 bis 26. Okt., 00:00: 4 Verkäufe, 1.446,00 €",
  );
  const rows = page.getByTestId("series").getByRole("row");
  await expect(rows).toHaveCount(25);
  const cells = (await rows.allInnerTexts()).map((row) => row.split("\t").map((cell) => cell.trim()));
  const sold = cells.filter(([, count]) => count !== "0").map(([from, count, revenue]) => [from, count, revenue]);
  expect(sold).toEqual([
    ["25. Okt., 23:00", "1", "49,00 €"],
    ["25. Okt., 02:00 MEZ", "1", "999,00 €"],
    ["25. Okt., 02:00 MESZ", "1", "199,00 €"],
    ["25. Okt., 00:00", "1", "199,00 €"],
  ].map((row) => row.map((cell) => cell.replace(" €", "\u00a0€"))));
  // A reset does not remove sales from the history; it is marked there.
  await expect(rows.filter({ hasText: "Zurückgesetzt um 13:00" })).toHaveCount(1);
  await expect(page.getByTestId("legend")).toContainText("Zurücksetzen");
});

test("days start at midnight in the company's time zone, also when the clocks change", async ({ page }) => {
  await chooseDay(page, "Tage");
  const rows = page.getByTestId("series").getByRole("row");
  await expect(rows).toHaveCount(30);
  await expect(rows.nth(0)).toHaveText(/^So\., 25\. Okt\. 2026\s*4\s*1\.446,00/);
  await expect(rows.nth(1)).toHaveText(/^Sa\., 24\. Okt\. 2026\s*1\s*49,00/);
});

test("the history can be downloaded as CSV", async ({ page }) => {
  await chooseDay(page, "Stunden");
  await expect(page.getByTestId("series").getByRole("row")).toHaveCount(25);
  const download = page.waitForEvent("download");
  await page.getByRole("link", { name: "CSV" }).click();
  const lines = (await readFile(await (await download).path(), "utf8")).trim().split(/\r?\n/);
  expect(lines[0]).toBe("from,to,license,sales_count,revenue,currency,resets");
  expect(lines).toHaveLength(1 + 25 * 3);
  expect(lines.filter((line) => line.includes("T02:00:00+02:00,")).length).toBeGreaterThan(0);
});

test("the pointer and the keyboard reach the figures of a bar", async ({ page, request }) => {
  await buyViaApi(request, "pro");
  await page.goto("/sales.html");
  const plot = page.getByTestId("plot");
  await expect(plot.locator("canvas").first()).toBeVisible();
  await expect(page.getByTestId("history-summary")).toHaveText(/ Verk/);
  await plot.scrollIntoViewIfNeeded();
  const box = await plot.boundingBox();
  await page.mouse.move((box?.x ?? 0) + (box?.width ?? 0) - 40, (box?.y ?? 0) + 60);
  await expect(page.getByTestId("tip")).toContainText("€ · ");
  // The tooltip covers what is below it, so Escape hides it, and new figures do not bring it back.
  await page.keyboard.press("Escape");
  await expect(page.getByTestId("tip")).toBeHidden();
  const summary = await page.getByTestId("history-summary").innerText();
  await buyViaApi(request, "pro");
  await expect(page.getByTestId("history-summary")).not.toHaveText(summary);
  await expect(page.getByTestId("tip")).toBeHidden();
  await page.mouse.move((box?.x ?? 0) + (box?.width ?? 0) - 42, (box?.y ?? 0) + 60);
  await expect(page.getByTestId("tip")).toContainText("€ · ");
  await page.mouse.move(1, 1);
  await expect(page.getByTestId("tip")).toBeHidden();

  await page.getByRole("radio", { name: "Minuten" }).focus();
  await page.keyboard.press("ArrowRight");
  await expect(page.getByRole("radio", { name: "Stunden" })).toBeChecked();
  await page.getByText("Als Tabelle").focus();
  await page.keyboard.press("Enter");
  // The hours of two days, and the current one.
  await expect.poll(() => page.getByTestId("series").getByRole("row").count()).toBeGreaterThanOrEqual(48);
});

test("a typed date is requested once it is complete", async ({ page }) => {
  await page.goto("/sales.html");
  await expect(page.getByTestId("history-summary")).toHaveText(/ Verk/);
  const asked: (string | null)[] = [];
  page.on("request", (sent) => {
    const { pathname, searchParams } = new URL(sent.url());
    if (pathname === "/api/sales/history" && searchParams.get("interval") === "minute" && searchParams.has("to")) {
      asked.push(searchParams.get("from"));
    }
  });
  const date = page.getByLabel("Tag", { exact: true });
  // Each digit of the year is a new date for the browser: 0002, 0020, 0202, 2026.
  await date.focus();
  await page.keyboard.type("10102026");
  await expect(page.getByTestId("history-summary")).toHaveText(/^10\. Okt\., 00:00 bis 11\. Okt\., 00:00: /);
  expect(asked.filter((from) => from?.startsWith("2026-10-") === true)).toEqual(["2026-10-09T22:00:00.000Z"]);
  expect(asked.filter((from) => from?.startsWith("2") === false)).toEqual([]);
  await expect(date).toHaveAttribute("aria-invalid", "false");

  // In the future.
  await date.fill("9999-12-31");
  await expect(date).toHaveAttribute("aria-invalid", "true");
  await expect(page.getByTestId("history-summary")).toHaveText(/^10\. Okt\./);
  await page.getByRole("button", { name: "Jetzt" }).click();
  await expect(page.getByTestId("history-summary")).not.toHaveText(/^10\. Okt\./);
  await expect(date).toHaveValue("");
  await expect(date).toHaveAttribute("aria-invalid", "false");
});

test("a past day is not requested again, whatever is sold later", async ({ page, request }) => {
  await page.clock.install();
  await chooseDay(page, "Stunden");
  await expect(page.getByTestId("series").getByRole("row")).toHaveCount(25);
  await expect(page.getByTestId("health")).toHaveText("Live");
  const count = await shownNumber(page, "count");
  const asked: (string | null)[] = [];
  page.on("request", (sent) => asked.push(new URL(sent.url()).searchParams.get("from")));
  await buyViaApi(request, "pro");
  await expect(page.getByTestId("count")).toHaveText(german(count + 1));
  await page.clock.fastForward("02:00");
  await page.evaluate(() => fetch("/api/session?from=here"));
  expect(asked).toContain("here");
  expect(asked).not.toContain("2026-10-24T22:00:00.000Z");
});

/** The number of pixels of the chart in the colours of the licences. */
const coloured = (page: Page): Promise<number> =>
  page
    .getByTestId("plot")
    .locator("canvas")
    .last()
    .evaluate((canvas: HTMLCanvasElement) => {
      const colours = ["15,107,92", "91,95,199", "194,87,12"];
      const { data } = canvas.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height) ?? { data: [] };
      let found = 0;
      for (let at = 0; at < data.length; at += 4) {
        found += colours.includes(data.slice(at, at + 3).join(",")) ? 1 : 0;
      }
      return found;
    });

test.describe("without a response", () => {
  test.use({ failedRequestsExpected: true });

  test("selecting another part of the history removes the previous one at once", async ({ page, request }) => {
    await buyViaApi(request, "basic");
    await page.goto("/sales.html");
    await page.getByText("Als Tabelle").click();
    const rows = page.getByTestId("series").getByRole("row");
    await expect(rows).not.toHaveCount(0);
    await expect.poll(() => coloured(page)).toBeGreaterThan(0);

    let abort: () => void = () => undefined;
    const aborted = new Promise<void>((resolve) => (abort = resolve));
    await page.route("**/api/sales/history?interval=day&*", async (route) => {
      await aborted;
      await route.abort();
    });
    await page.getByRole("radio", { name: "Tage" }).check();
    await expect(page.getByTestId("history-summary")).toHaveText("Der Verlauf wird geladen …");
    await expect(rows).toHaveCount(0);
    expect(await coloured(page)).toBe(0);
    abort();
    await expect(page.getByTestId("history-failure")).toBeVisible();
    await expect(rows).toHaveCount(0);
    expect(await coloured(page)).toBe(0);
  });

  // The chart requests the newest part, without times; the comparison of days requests hours from midnight on.
  for (const [what, address, part] of [
    ["Der Verlauf wird", /\/api\/sales\/history\?interval=minute&time_zone=/, "history-summary"],
    ["Die Zahlen für heute und gestern werden", /\/api\/sales\/history\?interval=hour&from=/, "today-count"],
    ["Die letzten Käufe werden", /\/api\/sales\/latest\?/, "latest"],
  ] as const) {
    test(`outdated figures stay and are marked as such: ${what} …`, async ({ page, request }) => {
      await buyViaApi(request, "basic");
      await page.goto("/sales.html");
      await expect(page.getByTestId("health")).toHaveText("Live");
      await expect(page.getByTestId("history-summary")).toHaveText(/ Verk/);
      await expect(page.getByTestId("today-count")).toHaveText(/ Verk/);
      await expect(page.getByTestId("latest").getByRole("row").first()).not.toContainText("–");
      const [count, before] = [await shownNumber(page, "count"), await page.getByTestId(part).innerText()];

      await page.route(address, (route) => route.abort());
      await buyViaApi(request, "enterprise");
      await expect(page.getByTestId("count")).toHaveText(german(count + 1));
      // The only alert: the requests of the other panels succeed.
      await expect(page.getByRole("alert")).toContainText(`${what} gerade nicht aktualisiert. Keine Verbindung.`);
      expect(await page.getByTestId(part).innerText()).toBe(before);

      await page.unroute(address);
      await expect(page.getByRole("alert")).toHaveCount(0);
      expect(await page.getByTestId(part).innerText()).not.toBe(before);
    });
  }

  test("a chart that could not be loaded is reported, and loaded later", async ({ page, request }) => {
    await buyViaApi(request, "basic");
    await page.route("**/assets/chart-*", (route) => route.fulfill({ status: 404 }));
    await page.goto("/sales.html");
    await expect(page.getByRole("alert")).toHaveText(/^Das Diagramm kann gerade nicht geladen werden\. /);
    await expect(page.getByTestId("history-summary")).toHaveText(/ Verk/);

    await page.unroute("**/assets/chart-*");
    await expect.poll(() => page.getByTestId("plot").locator("canvas").count()).toBe(2);
    await expect(page.getByRole("alert")).toHaveCount(0);
    expect(await coloured(page)).toBeGreaterThan(0);
  });
});

test.describe("for a reader in New York", () => {
  test.use({ timezoneId: "America/New_York" });

  test("the sales page shows company times and states this, and the receipt shows the reader's own", async ({
    page,
    request,
  }) => {
    await buyViaApi(request, "basic");
    await page.goto("/sales.html");
    const asOf = page.getByTestId("as-of");
    await expect(asOf).toHaveText(/ ME(S)?Z$/);
    const time = new Date((await asOf.getAttribute("datetime")) ?? "");
    const inBerlin = (parts: Intl.DateTimeFormatOptions): string =>
      new Intl.DateTimeFormat("de-DE", { ...parts, timeZone: "Europe/Berlin" }).format(time);
    await expect(asOf).toHaveText(inBerlin({ dateStyle: "medium", timeStyle: "long" }));
    // The same purchase, in the other table.
    await expect(page.getByTestId("latest").getByRole("row").first()).toContainText(inBerlin({ timeStyle: "medium" }));
    await expect(page.getByText("Alle Zeitangaben in Berliner Ortszeit.")).toBeVisible();

    await page.goto("/");
    await page.getByRole("button", { name: "Basic kaufen" }).click();
    await expect(page.getByTestId("receipt-time")).toHaveText(/ GMT-[45]$/);
  });
});
