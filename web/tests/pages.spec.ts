import { apiUrl, expect, test } from "./stack";

for (const path of ["/", "/sales.html", "/verify.html"]) {
  test(`${path} has a strict content security policy and loads nothing from other origins`, async ({
    page,
    baseURL,
  }) => {
    const addresses: string[] = [];
    page.on("request", (request) => addresses.push(request.url()));
    const response = await page.goto(path);
    const policy = response?.headers()["content-security-policy"];
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toContain("unsafe");
    await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
    expect(addresses.filter((address) => !address.startsWith(`${baseURL}/`))).toEqual([]);
  });

  test(`${path} fits on a phone`, async ({ page }) => {
    await page.setViewportSize({ width: 320, height: 640 });
    await page.goto(path);
    await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(320);
  });
}

test("the documentation lists both APIs, links to the events and loads nothing from other origins", async ({ page }) => {
  const addresses: string[] = [];
  page.on("request", (request) => addresses.push(request.url()));
  await page.goto(`${apiUrl}/docs/`);
  const selector = page.getByRole("combobox", { name: "Select a definition" });
  await expect(selector.getByRole("option")).toHaveText(["command-api", "query-api"]);
  await expect(page.locator('[data-path="/api/buy_mpi"]')).toBeVisible();
  const events = await page.getByRole("link", { name: "the AsyncAPI document" }).getAttribute("href");
  // In the browser, which resolves *.localhost without DNS.
  expect(await page.evaluate(async (address) => (await fetch(address ?? "")).ok, events)).toBe(true);

  await selector.selectOption("query-api");
  await page.locator('[data-path="/api/get_current_money"]').click();
  await page.getByRole("button", { name: "Try it out" }).click();
  await page.getByRole("button", { name: "Execute" }).click();
  await expect(page.locator(".live-responses-table")).toContainText("sales_count");
  // Images in the style sheet are data: addresses, which are no requests.
  expect(addresses.filter((address) => !address.startsWith(`${apiUrl}/`) && !address.startsWith("data:"))).toEqual([]);
});

test("the pages are in German for German readers", async ({ page }) => {
  await page.goto("/");
  await expect(page.locator("html")).toHaveAttribute("lang", "de");
  await expect(page).toHaveTitle("Lizenzen kaufen");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Wählen Sie Ihre Lizenz");
  await expect(page.getByText("199,00 €")).toBeVisible();
});

for (const path of ["/", "/sales.html", "/verify.html"]) {
  test(`${path} switches its language, and remembers it`, async ({ page }) => {
    await page.goto(path);
    const heading = page.getByRole("heading", { level: 1 });
    const german = await heading.innerText();
    await page.getByRole("button", { name: "EN – English" }).click();
    await expect(page.locator("html")).toHaveAttribute("lang", "en");
    await expect(heading).not.toHaveText(german);
    await page.reload();
    await expect(page.locator("html")).toHaveAttribute("lang", "en");
    await page.getByRole("button", { name: "DE – Deutsch" }).click();
    await expect(heading).toHaveText(german);
  });
}

test("the receipt and the chart switch their language with the page", async ({ page }) => {
  await page.goto("/");
  await page.getByRole("button", { name: "Pro kaufen" }).click();
  await expect(page.getByTestId("receipt-price")).toHaveText("199,00 €");
  await page.getByRole("button", { name: "EN – English" }).click();
  await expect(page.getByTestId("receipt-price")).toHaveText("€199.00");
  await page.goto("/sales.html");
  await expect(page.getByTestId("history-summary")).toHaveText(/ sales?, €/);
  await page.getByRole("button", { name: "DE – Deutsch" }).click();
  await expect(page.getByTestId("history-summary")).toHaveText(/ (Verkauf|Verkäufe), [\d.]+,\d\d\s€/);
});

test.describe("in other languages", () => {
  test.use({ locale: "en-GB" });

  test("the shop is in English", async ({ page }) => {
    await page.goto("/");
    await expect(page.locator("html")).toHaveAttribute("lang", "en");
    await expect(page).toHaveTitle("Buy a licence");
    await page.getByRole("button", { name: "Buy Pro" }).click();
    await expect(page.getByRole("heading", { name: "Thank you for your purchase" })).toBeVisible();
    await expect(page.getByTestId("receipt-price")).toHaveText("€199.00");
  });

  test("the sales page is in English", async ({ page }) => {
    await page.goto("/sales.html");
    await expect(page.getByRole("heading", { level: 1 })).toHaveText("Sales figures");
    await expect(page.getByTestId("health")).toHaveText("Live");
    await expect(page.getByTestId("revenue")).toHaveText(/^€[\d,]+\.\d\d$/);
  });
});
