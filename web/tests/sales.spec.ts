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
