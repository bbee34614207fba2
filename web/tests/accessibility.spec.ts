/** Nothing that axe knows of is wrong with any state of the pages, in light and dark, wide and narrow. */
import type { Page } from "@playwright/test";
import { buyElsewhere, expect, expectAccessible, test } from "./stack";

// Answers that never come, and connections that break.
test.use({ failedRequestsExpected: true });

async function breaks(page: Page, address: string): Promise<void> {
  await page.route(address, (route) => route.abort());
}

async function hangs(page: Page, address: string): Promise<void> {
  await page.route(address, () => undefined);
}

async function buy(page: Page): Promise<void> {
  await page.goto("/");
  await page.getByRole("button", { name: "Pro kaufen" }).click();
}

const states: Record<string, (page: Page) => Promise<void>> = {
  "the shop": async (page) => {
    await page.goto("/");
    await expect(page.getByRole("button", { name: "Pro kaufen" })).toBeVisible();
  },
  "a purchase under way": async (page) => {
    await hangs(page, "**/api/buy_mpi");
    await buy(page);
    await expect(page.getByRole("button", { name: "Wird gekauft …" })).toBeVisible();
  },
  "a purchase that failed": async (page) => {
    await breaks(page, "**/api/buy_mpi");
    await buy(page);
    await expect(page.getByRole("button", { name: "Erneut versuchen" })).toBeVisible();
  },
  "a receipt": async (page) => {
    await buy(page);
    await expect(page.getByTestId("key")).toHaveText(/\./);
  },
  "a receipt without its key": async (page) => {
    await breaks(page, "**/license_key");
    await buy(page);
    await expect(page.getByTestId("key-failure")).toBeVisible();
  },
  "a receipt that loads": async (page) => {
    await hangs(page, "**/api/purchases/*");
    await page.goto(`/#receipt=${crypto.randomUUID()}`);
    await expect(page.getByRole("heading", { name: "Wird geladen …" })).toBeVisible();
  },
  "a receipt that cannot be loaded": async (page) => {
    await breaks(page, "**/api/purchases/*");
    await page.goto(`/#receipt=${crypto.randomUUID()}`);
    await expect(page.getByTestId("receipt-alert")).toBeVisible();
  },
  "a receipt that does not exist": async (page) => {
    await page.goto(`/#receipt=${crypto.randomUUID()}`);
    await expect(page.getByRole("heading", { name: "Diese Quittung gibt es nicht" })).toBeVisible();
  },
  "the page about licence keys": async (page) => {
    await page.goto("/verify.html");
    await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  },
  "the sales page": async (page) => {
    await page.goto("/sales.html");
    await expect(page.getByTestId("health")).toHaveText("Live");
    await expect(page.getByTestId("plot").locator("canvas").first()).toBeVisible();
    await page.getByText("Als Tabelle").click();
    await expect(page.getByTestId("series").getByRole("row")).not.toHaveCount(0);
  },
  "a part of the history in which nothing was sold": async (page) => {
    await page.goto("/sales.html");
    await page.getByLabel("Tag", { exact: true }).fill("2020-02-29");
    await expect(page.getByText("In dieser Zeit wurde nichts verkauft.").first()).toBeVisible();
  },
  "the sales page before anything has come": async (page) => {
    await hangs(page, "**/api/sales/**");
    await page.goto("/sales.html");
    await expect(page.getByTestId("health")).toHaveText("Lädt");
  },
  "the sales page without a connection": async (page) => {
    await breaks(page, "**/api/sales/**");
    await page.goto("/sales.html");
    await expect(page.getByTestId("health")).toHaveText("Offline");
    await expect(page.getByTestId("latest-failure")).toBeVisible();
  },
  "a reset that failed": async (page) => {
    await breaks(page, "**/api/sales");
    await page.goto("/sales.html");
    await page.getByRole("button", { name: "Zurücksetzen …" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Zurücksetzen" }).click();
    await expect(page.getByTestId("reset-failure")).toBeVisible();
  },
  "the sales page, signed out": async (page) => {
    await page.goto(`${process.env["SALES_SECURE_URL"] ?? ""}/sales.html`);
    await expect(page.getByRole("heading", { name: "Anmelden" })).toBeVisible();
  },
  "a token that is not accepted": async (page) => {
    await page.goto(`${process.env["SALES_SECURE_URL"] ?? ""}/sales.html#token=sales_of_somebody_else`);
    await expect(page.getByTestId("trouble")).toBeVisible();
  },
};

for (const [name, reach] of Object.entries(states)) {
  test(name, async ({ page, request }) => {
    await buyElsewhere(request, "basic");
    await reach(page);
    await expectAccessible(page);
  });
}
