import { buyElsewhere, expect, purchasesSince, readTotals, test } from "./stack";

for (const [license, name, price] of [
  ["basic", "Basic", "49,00 €"],
  ["pro", "Pro", "199,00 €"],
  ["enterprise", "Enterprise", "999,00 €"],
] as const) {
  test(`a customer buys ${license} and sees the receipt`, async ({ page, request }) => {
    const position = await buyElsewhere(request, "basic");
    await page.goto("/");
    await page.getByRole("button", { name: `${name} kaufen` }).click();

    const receipt = page.getByTestId("receipt");
    await expect(receipt.getByRole("heading", { name: "Vielen Dank für Ihren Kauf" })).toBeFocused();
    await expect(receipt.getByTestId("receipt-license")).toHaveText(name);
    await expect(receipt.getByTestId("receipt-price")).toHaveText(price);
    await expect(receipt.getByTestId("receipt-id")).toHaveText(/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/);
    await expect(receipt.getByTestId("receipt-position")).toHaveText((position + 1).toLocaleString("de-DE"));
    const time = await receipt.getByTestId("receipt-time").getAttribute("datetime");
    expect(Math.abs(Date.now() - Date.parse(time ?? ""))).toBeLessThan(60_000);

    await page.getByRole("button", { name: "Weitere Lizenz kaufen" }).click();
    await expect(page.getByRole("button", { name: `${name} kaufen` })).toBeEnabled();
  });
}

test("a double click buys once", async ({ page, request }) => {
  const before = await readTotals(request);
  await page.goto("/");
  await page.getByRole("button", { name: "Pro kaufen" }).dblclick();
  await expect(page.getByTestId("receipt")).toBeVisible();
  expect(await purchasesSince(request, before)).toBe(1);
});

test("the second click of a slow double click, which comes after the receipt, buys nothing more", async ({
  page,
  request,
}) => {
  const before = await readTotals(request);
  await page.goto("/");
  await page.getByRole("button", { name: "Pro kaufen" }).hover();
  for (const clickCount of [1, 2]) {
    await page.mouse.down({ clickCount });
    await page.mouse.up({ clickCount });
    await expect(page.getByTestId("receipt")).toBeVisible();
  }
  expect(await purchasesSince(request, before)).toBe(1);
});

test("two purchases of the same licence are two sales", async ({ page, request }) => {
  const before = await readTotals(request);
  await page.goto("/");
  await page.getByRole("button", { name: "Basic kaufen" }).click();
  await page.getByRole("button", { name: "Weitere Lizenz kaufen" }).click();
  await page.getByRole("button", { name: "Basic kaufen" }).click();
  await expect(page.getByTestId("receipt")).toBeVisible();
  expect(await purchasesSince(request, before)).toBe(2);
});

test("a purchase needs no mouse", async ({ page }) => {
  await page.goto("/");
  await page.getByRole("button", { name: "Enterprise kaufen" }).focus();
  await page.keyboard.press("Enter");
  await expect(page.getByTestId("receipt-license")).toHaveText("Enterprise");
});
