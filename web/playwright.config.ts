import { defineConfig } from "@playwright/test";

// The tests need a running system and the Chromium of the machine.
const CLOSED_SYSTEM = /(sign-in|accessibility)\.spec\.ts$/;

export default defineConfig({
  testDir: "tests",
  // Tests count the sales of their system, reset them and stop its services. So the tests of one system run in sequence,
  // and the two systems in parallel.
  workers: 2,
  projects: [
    { name: "open", testIgnore: CLOSED_SYSTEM, workers: 1 },
    { name: "closed", testMatch: CLOSED_SYSTEM, workers: 1 },
  ],
  forbidOnly: true,
  retries: 0,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: "list",
  use: {
    baseURL: process.env["SALES_URL"] ?? "http://localhost:8000",
    // The pages mark their parts for their own scripts.
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
