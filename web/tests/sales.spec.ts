import { readFile } from "node:fs/promises";
import type { Page } from "@playwright/test";
import { buyElsewhere, buyFromAnotherProcess, expect, readTotals, test } from "./stack";

const german = (value: number): string => value.toLocaleString("de-DE");

test("the figures move without a reload when somebody buys elsewhere", async ({ page, request }) => {
  const before = await readTotals(request, await buyElsewhere(request, "basic"));
  await page.goto("/sales.html");
  await expect(page.getByTestId("count")).toHaveText(german(before.sales_count));
  await expect(page.getByTestId("health")).toHaveText("Live");
  const pro = page.getByRole("row", { name: /^Pro/ }).getByTestId("license-count");
  const proBefore = Number((await pro.innerText()).replaceAll(".", ""));

  let loads = 0;
  page.on("load", () => (loads += 1));
  const position = await buyElsewhere(request, "pro");
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

test("an open system asks nobody to sign in, and lets everybody reset", async ({ page }) => {
  await page.goto("/sales.html");
  await expect(page.getByTestId("health")).toHaveText("Live");
  await expect(page.getByRole("button", { name: "Zurücksetzen …" })).toBeVisible();
  for (const part of ["sign-in", "no-access", "account", "trouble"]) {
    await expect(page.getByTestId(part)).toBeHidden();
  }
});

test("a reset asks first, and does nothing when it is cancelled", async ({ page, request }) => {
  const before = await readTotals(request, await buyElsewhere(request, "basic"));
  await page.goto("/sales.html");
  await page.getByRole("button", { name: "Zurücksetzen …" }).click();
  const dialog = page.getByRole("dialog", { name: "Verkaufszahlen zurücksetzen?" });
  await dialog.getByRole("button", { name: "Abbrechen" }).click();
  await expect(dialog).toBeHidden();

  await page.getByRole("button", { name: "Zurücksetzen …" }).click();
  await page.keyboard.press("Escape");
  await expect(dialog).toBeHidden();

  const after = await readTotals(request, await buyElsewhere(request, "basic"));
  expect(after.sales_count).toBe(before.sales_count + 1);
});

test("a confirmed reset shows zero, and the next sale counts from there", async ({ page, request }) => {
  await buyElsewhere(request, "enterprise");
  await page.goto("/sales.html");
  await expect(page.getByTestId("count")).not.toHaveText(/^[–0]$/);

  await page.getByRole("button", { name: "Zurücksetzen …" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Zurücksetzen" }).click();
  await expect(page.getByTestId("count")).toHaveText("0");
  await expect(page.getByTestId("revenue")).toHaveText("0,00 €");
  await expect(page.getByTestId("reset-done")).toHaveText(/^Zurückgesetzt am /);
  await expect(page.getByTestId("message")).toHaveText("Seit dem letzten Zurücksetzen wurde noch nichts verkauft.");

  await buyElsewhere(request, "basic");
  await expect(page.getByTestId("count")).toHaveText("1");
  await expect(page.getByTestId("revenue")).toHaveText("49,00 €");
});

test("each purchase that arrives is shown to be new", async ({ page, request }) => {
  await buyElsewhere(request, "basic");
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
    await buyElsewhere(request, "pro");
    // In each of a row's three cells.
    await expect.poll(() => arrivals.jsonValue()).toHaveLength(3 * purchases);
  }
});

const shownNumber = async (page: Page, part: string): Promise<number> =>
  Number((await page.getByTestId(part).first().innerText()).replace(/ .*/u, "").replaceAll(".", ""));

test("everything moves while another process buys", async ({ page, request, baseURL }) => {
  await buyElsewhere(request, "basic");
  await page.goto("/sales.html");
  await expect(page.getByTestId("health")).toHaveText("Live");
  await expect(page.getByTestId("count")).toHaveText(/^[\d.]+$/);
  await expect(page.getByTestId("today-count")).toHaveText(/ Verk/);
  await expect(page.getByTestId("history-summary")).toHaveText(/ Verk/);
  const [count, today] = [await shownNumber(page, "count"), await shownNumber(page, "today-count")];
  const newest = page.getByTestId("latest").getByRole("row").first();

  const buying = buyFromAnotherProcess(baseURL ?? "", "enterprise", 40);
  // It is seen to move before all are bought.
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

test("a page that nobody sees asks for nothing, and is up to date when it is seen again", async ({ page, request }) => {
  await page.clock.install();
  await page.goto("/sales.html");
  await expect(page.getByTestId("health")).toHaveText("Live");
  await expect(page.getByTestId("latest").getByRole("row").first()).not.toContainText("–");
  await expect(page.getByTestId("history-summary")).toHaveText(/ Verk/);
  const count = await shownNumber(page, "count");
  // A headless browser shows all its tabs at once.
  const turn = (hidden: boolean): Promise<void> =>
    page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, value: hidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);

  const hangUp = page.waitForEvent("requestfailed", (gone) => gone.url().endsWith("/api/sales/stream"));
  await turn(true);
  await hangUp;
  const asked: string[] = [];
  page.on("request", (sent) => asked.push(new URL(sent.url()).pathname));
  await readTotals(request, await buyElsewhere(request, "pro"));
  // Two minutes pass; whatever is asked in them is heard of before the last question.
  await page.clock.fastForward("02:00");
  await page.evaluate(() => fetch("/api/session"));
  expect(asked).toEqual(["/api/session"]);
  expect(await shownNumber(page, "count")).toBe(count);

  await turn(false);
  await expect(page.getByTestId("count")).toHaveText(german(count + 1));
});

test("today stands beside as much of yesterday as there has been of today", async ({ page }) => {
  // A quarter to three, on the day after the one on which it was half past two twice.
  await page.clock.install({ time: "2026-10-26T01:45:00Z" });
  await page.goto("/sales.html");
  await expect(page.getByTestId("today-revenue")).toHaveText("999,00 €");
  await expect(page.getByTestId("today-count")).toHaveText("1 Verkauf");
  await expect(page.getByTestId("today-beside")).toHaveText(/^Gestern bis 02:45: 1\.397,00\s€ \(-28\s%\)$/);
  await expect(page.getByTestId("yesterday-revenue")).toHaveText("1.446,00 €");
  await expect(page.getByTestId("yesterday-count")).toHaveText("4 Verkäufe");
});

/** What the stack sold on these days before any test began; see `sell_around_the_end_of_summer_time`. */
async function chooseDay(page: Page, interval: string): Promise<void> {
  await page.goto("/sales.html");
  await page.getByRole("radio", { name: interval }).check();
  await page.getByLabel("Tag", { exact: true }).fill("2026-10-25");
  await page.getByText("Als Tabelle").click();
}

test("the day on which the clocks go back has 25 hours, two of which the clocks show alike", async ({ page }) => {
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
  // A reset takes nothing out of the history; it is marked in it.
  await expect(rows.filter({ hasText: "Zurückgesetzt um 13:00" })).toHaveCount(1);
  await expect(page.getByTestId("legend")).toContainText("Zurücksetzen");
});

test("days begin at the company's midnight, also around the change of the clocks", async ({ page }) => {
  await chooseDay(page, "Tage");
  const rows = page.getByTestId("series").getByRole("row");
  await expect(rows).toHaveCount(30);
  await expect(rows.nth(0)).toHaveText(/^So\., 25\. Okt\. 2026\s*4\s*1\.446,00/);
  await expect(rows.nth(1)).toHaveText(/^Sa\., 24\. Okt\. 2026\s*1\s*49,00/);
});

test("what the chart shows can be taken along as CSV", async ({ page }) => {
  await chooseDay(page, "Stunden");
  await expect(page.getByTestId("series").getByRole("row")).toHaveCount(25);
  const download = page.waitForEvent("download");
  await page.getByRole("link", { name: "CSV" }).click();
  const lines = (await readFile(await (await download).path(), "utf8")).trim().split(/\r?\n/);
  expect(lines[0]).toBe("from,to,license,sales_count,revenue,currency,resets");
  expect(lines).toHaveLength(1 + 25 * 3);
  expect(lines.filter((line) => line.includes("T02:00:00+02:00,")).length).toBeGreaterThan(0);
});

test("the pointer and the keyboard find what is behind a bar", async ({ page, request }) => {
  await buyElsewhere(request, "pro");
  await page.goto("/sales.html");
  const plot = page.getByTestId("plot");
  await expect(plot.locator("canvas").first()).toBeVisible();
  await expect(page.getByTestId("history-summary")).toHaveText(/ Verk/);
  await plot.scrollIntoViewIfNeeded();
  const box = await plot.boundingBox();
  await page.mouse.move((box?.x ?? 0) + (box?.width ?? 0) - 40, (box?.y ?? 0) + 60);
  await expect(page.getByTestId("tip")).toContainText("€ · ");
  // It covers what is below; so one can do away with it without moving the pointer, and it stays away when figures come.
  await page.keyboard.press("Escape");
  await expect(page.getByTestId("tip")).toBeHidden();
  const summary = await page.getByTestId("history-summary").innerText();
  await buyElsewhere(request, "pro");
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
  // The hours of two days, and the one that has begun.
  await expect.poll(() => page.getByTestId("series").getByRole("row").count()).toBeGreaterThanOrEqual(48);
});

test("a day that is typed is asked for when it is one, and nothing breaks on the way", async ({ page }) => {
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
  // The browser takes each digit of the year for a new date: 0002, 0020, 0202, 2026.
  await date.focus();
  await page.keyboard.type("10102026");
  await expect(page.getByTestId("history-summary")).toHaveText(/^10\. Okt\., 00:00 bis 11\. Okt\., 00:00: /);
  expect(asked.filter((from) => from?.startsWith("2026-10-") === true)).toEqual(["2026-10-09T22:00:00.000Z"]);
  expect(asked.filter((from) => from?.startsWith("2") === false)).toEqual([]);
  await expect(date).toHaveAttribute("aria-invalid", "false");

  // The last day that there is, which is not over yet.
  await date.fill("9999-12-31");
  await expect(date).toHaveAttribute("aria-invalid", "true");
  await expect(page.getByTestId("history-summary")).toHaveText(/^10\. Okt\./);
  await page.getByRole("button", { name: "Jetzt" }).click();
  await expect(page.getByTestId("history-summary")).not.toHaveText(/^10\. Okt\./);
  await expect(date).toHaveValue("");
  await expect(date).toHaveAttribute("aria-invalid", "false");
});

test("a day that is over is not asked for again, however much is sold afterwards", async ({ page, request }) => {
  await page.clock.install();
  await chooseDay(page, "Stunden");
  await expect(page.getByTestId("series").getByRole("row")).toHaveCount(25);
  await expect(page.getByTestId("health")).toHaveText("Live");
  const count = await shownNumber(page, "count");
  const asked: (string | null)[] = [];
  page.on("request", (sent) => asked.push(new URL(sent.url()).searchParams.get("from")));
  await buyElsewhere(request, "pro");
  await expect(page.getByTestId("count")).toHaveText(german(count + 1));
  await page.clock.fastForward("02:00");
  await page.evaluate(() => fetch("/api/session?from=here"));
  expect(asked).toContain("here");
  expect(asked).not.toContain("2026-10-24T22:00:00.000Z");
});

/** How many points of the chart are in one of the licences' colours. */
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

test.describe("without an answer", () => {
  test.use({ failedRequestsExpected: true });

  test("nothing is left of another part of the history than the one that is chosen", async ({ page, request }) => {
    await buyElsewhere(request, "basic");
    await page.goto("/sales.html");
    await page.getByText("Als Tabelle").click();
    const rows = page.getByTestId("series").getByRole("row");
    await expect(rows).not.toHaveCount(0);
    await expect.poll(() => coloured(page)).toBeGreaterThan(0);

    let breakOff: () => void = () => undefined;
    const broken = new Promise<void>((resolve) => (breakOff = resolve));
    await page.route("**/api/sales/history?interval=day&*", async (route) => {
      await broken;
      await route.abort();
    });
    await page.getByRole("radio", { name: "Tage" }).check();
    await expect(page.getByTestId("history-summary")).toHaveText("Der Verlauf wird geladen …");
    await expect(rows).toHaveCount(0);
    expect(await coloured(page)).toBe(0);
    breakOff();
    await expect(page.getByTestId("history-failure")).toBeVisible();
    await expect(rows).toHaveCount(0);
    expect(await coloured(page)).toBe(0);
  });

  // The chart's own history is the newest part, without times; the one of the days is by hours, from a midnight on.
  for (const [what, address, part] of [
    ["Der Verlauf wird", /\/api\/sales\/history\?interval=minute&time_zone=/, "history-summary"],
    ["Heute und gestern werden", /\/api\/sales\/history\?interval=hour&from=/, "today-count"],
    ["Die letzten Käufe werden", /\/api\/sales\/latest\?/, "latest"],
  ] as const) {
    test(`old figures stay and are said to be old: ${what} …`, async ({ page, request }) => {
      await buyElsewhere(request, "basic");
      await page.goto("/sales.html");
      await expect(page.getByTestId("health")).toHaveText("Live");
      await expect(page.getByTestId("history-summary")).toHaveText(/ Verk/);
      await expect(page.getByTestId("today-count")).toHaveText(/ Verk/);
      await expect(page.getByTestId("latest").getByRole("row").first()).not.toContainText("–");
      const [count, before] = [await shownNumber(page, "count"), await page.getByTestId(part).innerText()];

      await page.route(address, (route) => route.abort());
      await buyElsewhere(request, "enterprise");
      await expect(page.getByTestId("count")).toHaveText(german(count + 1));
      // The only one: what is asked for in the other panels is answered.
      await expect(page.getByRole("alert")).toContainText(`${what} gerade nicht aktualisiert. Keine Verbindung.`);
      expect(await page.getByTestId(part).innerText()).toBe(before);

      await page.unroute(address);
      await expect(page.getByRole("alert")).toHaveCount(0);
      expect(await page.getByTestId(part).innerText()).not.toBe(before);
    });
  }

  test("a chart that could not be loaded is said to be missing, and loaded when it can be", async ({ page, request }) => {
    await buyElsewhere(request, "basic");
    await page.route("**/assets/chart-*", (route) => route.fulfill({ status: 404 }));
    await page.goto("/sales.html");
    await expect(page.getByRole("alert")).toHaveText(/^Das Diagramm lässt sich gerade nicht laden\. /);
    await expect(page.getByTestId("history-summary")).toHaveText(/ Verk/);

    await page.unroute("**/assets/chart-*");
    await expect.poll(() => page.getByTestId("plot").locator("canvas").count()).toBe(2);
    await expect(page.getByRole("alert")).toHaveCount(0);
    expect(await coloured(page)).toBeGreaterThan(0);
  });
});

test.describe("for a reader in New York", () => {
  test.use({ timezoneId: "America/New_York" });

  test("the sales page tells the company's times and says so, and the receipt the reader's own", async ({
    page,
    request,
  }) => {
    await buyElsewhere(request, "basic");
    await page.goto("/sales.html");
    const asOf = page.getByTestId("as-of");
    await expect(asOf).toHaveText(/ ME(S)?Z$/);
    const time = new Date((await asOf.getAttribute("datetime")) ?? "");
    const inBerlin = (parts: Intl.DateTimeFormatOptions): string =>
      new Intl.DateTimeFormat("de-DE", { ...parts, timeZone: "Europe/Berlin" }).format(time);
    await expect(asOf).toHaveText(inBerlin({ dateStyle: "medium", timeStyle: "long" }));
    // Of the same purchase, beside it.
    await expect(page.getByTestId("latest").getByRole("row").first()).toContainText(inBerlin({ timeStyle: "medium" }));
    await expect(page.getByText("Alle Zeiten auf dieser Seite sind die von Berlin.")).toBeVisible();

    await page.goto("/");
    await page.getByRole("button", { name: "Basic kaufen" }).click();
    await expect(page.getByTestId("receipt-time")).toHaveText(/ GMT-[45]$/);
  });
});
