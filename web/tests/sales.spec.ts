import { buyElsewhere, expect, readTotals, test } from "./stack";

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
