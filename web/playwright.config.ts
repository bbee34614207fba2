import { defineConfig } from "@playwright/test";

// The tests drive a running system; they start nothing, and the browser is the machine's own.
export default defineConfig({
  testDir: "tests",
  // They share one log of sales and stop services under each other's pages.
  workers: 1,
  forbidOnly: true,
  retries: 0,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: "list",
  use: {
    baseURL: process.env["SALES_URL"] ?? "http://localhost:8000",
    // The pages mark their parts for their own scripts; the tests find them by the same names.
    testIdAttribute: "data-part",
    locale: "de-DE",
    timezoneId: "Europe/Berlin",
    actionTimeout: 15_000,
    navigationTimeout: 15_000,
    screenshot: "only-on-failure",
    launchOptions: {
      executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
      args: [
        "--no-sandbox",
        "--headless",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-quic",
        "--no-first-run",
      ],
    },
  },
});
