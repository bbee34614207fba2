import { readFile } from "node:fs/promises";
import { buyViaApi, expect, purchasesSince, readTotals, test } from "./stack";

const languages = [
  {
    locale: "de-DE",
    buy: (name: string) => `${name} kaufen`,
    thanks: "Vielen Dank für Ihren Kauf",
    receipt: "Ihre Quittung",
    more: "Weitere Lizenz kaufen",
    prices: ["49,00 €", "199,00 €", "999,00 €"],
  },
  {
    locale: "en-GB",
    buy: (name: string) => `Buy ${name}`,
    thanks: "Thank you for your purchase",
    receipt: "Your receipt",
    more: "Buy another licence",
    prices: ["€49.00", "€199.00", "€999.00"],
  },
] as const;

const KEY = /^[\w-]+\.[\w-]+\.[\w-]+$/;

for (const { locale, buy, thanks, receipt: heading, more, prices } of languages) {
  test.describe(locale, () => {
    test.use({ locale });

    for (const [index, name] of ["Basic", "Pro", "Enterprise"].entries()) {
      test(`a customer buys ${name}, gets the receipt with the key, and can reopen both at their address`, async ({
        page,
        request,
      }) => {
        const position = await buyViaApi(request, "basic");
        await page.goto("/");
        const clickedAt = Date.now();
        await page.getByRole("button", { name: buy(name) }).click();

        const receipt = page.getByTestId("receipt");
        await expect(receipt.getByRole("heading", { name: thanks })).toBeFocused();
        await expect(receipt.getByTestId("receipt-license")).toHaveText(name);
        await expect(receipt.getByTestId("receipt-price")).toHaveText(prices[index] ?? "");
        await expect(receipt.getByTestId("receipt-id")).toHaveText(/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/);
        await expect(receipt.getByTestId("receipt-position")).toHaveText((position + 1).toLocaleString(locale));
        const time = await receipt.getByTestId("receipt-time").getAttribute("datetime");
        expect(Date.parse(time ?? "")).toBeGreaterThanOrEqual(clickedAt);
        expect(Date.parse(time ?? "")).toBeLessThanOrEqual(Date.now());
        await expect(receipt.getByTestId("key")).toHaveText(KEY);
        const [id, key, address] = [
          await receipt.getByTestId("receipt-id").innerText(),
          await receipt.getByTestId("key").innerText(),
          page.url(),
        ];

        await page.getByRole("button", { name: more }).click();
        await expect(page.getByRole("button", { name: buy(name) })).toBeEnabled();
        expect(page.url()).not.toContain(id);

        // Only the address is needed.
        const later = await page.context().newPage();
        await later.goto(address);
        await expect(later.getByRole("heading", { name: heading })).toBeVisible();
        await expect(later.getByTestId("receipt-id")).toHaveText(id);
        await expect(later.getByTestId("receipt-time")).toHaveAttribute("datetime", time ?? "");
        await expect(later.getByTestId("key")).toHaveText(key);
      });
    }
  });
}

test("the back button leads to the shop, and the forward button to the receipt", async ({ page }) => {
  await page.goto("/");
  await page.getByRole("button", { name: "Basic kaufen" }).click();
  const id = page.getByTestId("receipt-id");
  await expect(id).toHaveText(/-/);
  const bought = await id.innerText();
  await page.goBack();
  await expect(page.getByRole("button", { name: "Basic kaufen" })).toBeVisible();
  await page.goForward();
  await expect(id).toHaveText(bought);
});

test("an address without a receipt reports this, and offers the shop", async ({ page, consoleErrors }) => {
  await page.goto(`/#receipt=${crypto.randomUUID()}`);
  await expect(page.getByRole("heading", { level: 1, name: "Quittung nicht gefunden" })).toBeVisible();
  await expect(page.getByTestId("receipt-body")).toBeHidden();
  await page.getByRole("button", { name: "Zu den Lizenzen" }).click();
  await expect(page.getByRole("button", { name: "Basic kaufen" })).toBeVisible();
  // The browser reports the status 404, and nothing else.
  expect(consoleErrors.splice(0)).toHaveLength(1);
});

test("the whole key is copied", async ({ page, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.goto("/");
  await page.getByRole("button", { name: "Pro kaufen" }).click();
  await page.getByRole("button", { name: "Schlüssel kopieren" }).click();
  await expect(page.getByTestId("key-copied")).toHaveText("Kopiert.");
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(await page.getByTestId("key").textContent());
});

test("the printed receipt has the whole key, and no controls", async ({ page }) => {
  await page.goto("/");
  await page.getByRole("button", { name: "Pro kaufen" }).click();
  await expect(page.getByTestId("key")).toHaveText(KEY);
  await page.emulateMedia({ media: "print", colorScheme: "dark" });
  await expect(page.getByTestId("receipt-id")).toBeVisible();
  // On the screen this is the page's own address.
  await expect(page.getByTestId("receipt-address")).toBeVisible();
  await expect(page.getByTestId("receipt-address")).toHaveText(page.url());
  for (const control of [page.getByRole("navigation"), page.getByRole("button"), page.getByRole("link")]) {
    await expect(control.filter({ visible: true })).toHaveCount(0);
  }
  expect(await page.getByTestId("key").evaluate((key) => key.scrollHeight - key.clientHeight)).toBe(0);
  expect(await page.evaluate(() => getComputedStyle(document.body).backgroundColor)).toBe("rgb(255, 255, 255)");
});

test("a double click buys once", async ({ page, request }) => {
  const before = await readTotals(request);
  await page.goto("/");
  await page.getByRole("button", { name: "Pro kaufen" }).dblclick();
  await expect(page.getByTestId("receipt")).toBeVisible();
  expect(await purchasesSince(request, before)).toBe(1);
});

test("the second click of a slow double click, after the receipt, buys nothing more", async ({
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

test.describe("on a phone", () => {
  test.use({ viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true });

  test("the receipt and the key fit the width of the screen", async ({ page }) => {
    await page.goto("/");
    await page.getByRole("button", { name: "Enterprise kaufen" }).tap();
    await expect(page.getByRole("heading", { name: "Vielen Dank für Ihren Kauf" })).toBeInViewport();
    await expect(page.getByTestId("receipt-license")).toHaveText("Enterprise");
    await expect(page.getByTestId("key")).toHaveText(KEY);
    for (const part of ["receipt-time", "receipt-id", "key", "copy-key", "print", "more"]) {
      const box = await page.getByTestId(part).boundingBox();
      expect(box?.x, part).toBeGreaterThanOrEqual(0);
      expect((box?.x ?? 0) + (box?.width ?? Infinity), part).toBeLessThanOrEqual(360);
    }
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(360);
    await page.getByRole("button", { name: "Weitere Lizenz kaufen" }).tap();
    await expect(page.getByRole("button", { name: "Basic kaufen" })).toBeInViewport();
  });
});

test.describe("rejected", () => {
  test.use({ failedRequestsExpected: true });

  test("the reason is given in the language of the page", async ({ page }) => {
    await page.route("**/api/buy_mpi", (route) => route.continue({ postData: '{"license":"gold"}' }));
    await page.goto("/");
    await page.getByRole("button", { name: "Pro kaufen" }).click();
    await expect(page.getByRole("alert")).toContainText(
      "Der Dienst versteht diese Anfrage nicht mehr. Bitte laden Sie die Seite neu.",
    );
  });
});

test("a purchase works without a mouse", async ({ page }) => {
  await page.goto("/");
  await page.getByRole("button", { name: "Enterprise kaufen" }).focus();
  await page.keyboard.press("Enter");
  await expect(page.getByTestId("receipt-license")).toHaveText("Enterprise");
});

test("the receipt offers the proof of its own purchase", async ({ page }) => {
  await page.goto("/");
  await page.getByRole("button", { name: "Pro kaufen" }).click();
  const receiptId = page.getByTestId("receipt-id");
  await expect(receiptId).not.toBeEmpty();
  const id = await receiptId.textContent();
  const download = page.waitForEvent("download");
  await page.getByRole("link", { name: "Nachweis herunterladen" }).click();
  const proof = JSON.parse(await readFile(await (await download).path(), "utf8")) as Record<string, unknown>;
  expect((JSON.parse(String(proof["event"])) as Record<string, unknown>)["id"]).toBe(id);
  expect(String(proof["checkpoint"])).toContain(`\n${String(proof["tree_size"])}\n`);
});
