/** Access to the running system, and a page fixture that fails the test on any browser error. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { AxeBuilder } from "@axe-core/playwright";
import { type APIRequestContext, test as base, expect, type Page } from "@playwright/test";

/** The origin of the APIs and their documentation; the pages are at Playwright's `baseURL`. */
export const apiUrl = process.env["SALES_API_URL"] ?? "http://sales.localhost:8000";

export const test = base.extend<{
  /** Set by tests in which requests fail: the browser reports them as errors. */
  failedRequestsExpected: boolean;
  consoleErrors: string[];
}>({
  failedRequestsExpected: [false, { option: true }],
  // Console errors, including violations of the content security policy, and uncaught exceptions.
  consoleErrors: [
    async ({ page, failedRequestsExpected }, use) => {
      const consoleErrors: string[] = [];
      page.on("pageerror", (error) => consoleErrors.push(String(error)));
      page.on("console", (message) => {
        const isFailedRequest = message.text().startsWith("Failed to load resource");
        if (message.type() === "error" && !(isFailedRequest && failedRequestsExpected)) {
          consoleErrors.push(message.text());
        }
      });
      await use(consoleErrors);
      expect(consoleErrors).toEqual([]);
    },
    { auto: true },
  ],
});

/** A test of the closed system, with its access tokens by role. The operator has the roles sales and operator. */
export const closedSystemTest = test.extend<{ tokens: { sales: string; operator: string; auditor: string } }>({
  // eslint-disable-next-line no-empty-pattern -- Playwright reads the dependencies of a fixture from the pattern.
  baseURL: async ({}, use) => {
    await use(required("SALES_SECURE_URL").replace(/\/$/, ""));
  },
  // eslint-disable-next-line no-empty-pattern
  tokens: async ({}, use) => {
    const tokens = readFileSync(required("SALES_SECURE_TOKENS"), "utf8");
    await use(JSON.parse(tokens) as { sales: string; operator: string; auditor: string });
  },
  // The browser reports requests that a closed system rejects.
  failedRequestsExpected: true,
});

export { expect };

/** An environment variable without a default. */
export function required(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === "") {
    throw new Error(`${name} must be set; see web/README.md`);
  }
  return value;
}

export interface Totals {
  sales_count: number;
  revenue: { amount_minor: number; currency: string };
  position: number;
}

/** The totals from the API, once they include `minPosition`. */
export async function readTotals(request: APIRequestContext, minPosition = 0): Promise<Totals> {
  const response = await request.get(`/api/get_current_money?min_position=${minPosition}`);
  expect(response.status()).toBe(200);
  return (await response.json()) as Totals;
}

/** Buys through the API, like another customer, and returns the position. */
export async function buyViaApi(request: APIRequestContext, license: string): Promise<number> {
  const response = await request.post("/api/buy_mpi", {
    data: { license },
    headers: { "Idempotency-Key": crypto.randomUUID() },
  });
  expect(response.status()).toBe(201);
  return ((await response.json()) as { position: number }).position;
}

/**
 * The number of purchases since `before`. Makes one more purchase and waits until it is counted: the log is ordered, so
 * all earlier purchases are counted, too. The extra one is subtracted.
 */
export async function purchasesSince(request: APIRequestContext, before: Totals): Promise<number> {
  const after = await readTotals(request, await buyViaApi(request, "basic"));
  return after.sales_count - before.sales_count - 1;
}

/** Freezes every process of a service while `during` runs. */
export async function whileStopped(service: string, during: () => Promise<void>): Promise<void> {
  const pids = pidsOf(service);
  try {
    pids.forEach((pid) => process.kill(pid, "SIGSTOP"));
    await during();
  } finally {
    pids.forEach((pid) => process.kill(pid, "SIGCONT"));
  }
}

/** Kills every process of a service; the stack restarts it. */
export function kill(service: string): void {
  pidsOf(service).forEach((pid) => process.kill(pid, "SIGKILL"));
}

/** Buys `count` licences, one after another, from another process. */
export async function buyFromAnotherProcess(baseURL: string, license: string, count: number): Promise<void> {
  const program = `
    for (let bought = 0; bought < ${count}; bought += 1) {
      const response = await fetch("${baseURL}/api/buy_mpi", {
        method: "POST",
        headers: { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID() },
        body: JSON.stringify({ license: "${license}" }),
      });
      if (response.status !== 201) process.exit(1);
    }`;
  const buyer = spawn(process.execPath, ["--input-type=module", "--eval", program], { stdio: "inherit" });
  expect(await once(buyer, "exit")).toEqual([0, null]);
}

/** Checks the current page with axe: wide, narrow, and in dark mode, which changes nothing but colours. */
export async function expectAccessible(page: Page): Promise<void> {
  const before = page.viewportSize();
  for (const [colorScheme, width, tags] of [
    ["light", 1280, undefined],
    ["dark", 1280, ["cat.color"]],
    ["light", 320, undefined],
  ] as const) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 800 });
    const axe = new AxeBuilder({ page }).setLegacyMode();
    const { violations } = await (tags ? axe.withTags([...tags]) : axe).analyze();
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
    expect(found, `${colorScheme}, ${width} px wide`).toEqual([]);
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
  }
  await page.setViewportSize(before ?? { width: 1280, height: 720 });
}

function pidsOf(service: string): number[] {
  const { processes } = JSON.parse(readFileSync(required("SALES_STATE"), "utf8")) as { processes: { name: string; id: { pid: number } }[] };
  const pids = processes.filter(({ name }) => new RegExp(`^${service}(-\\d+)?$`).test(name)).map(({ id }) => id.pid);
  expect(pids, `processes of ${service}`).not.toEqual([]);
  return pids;
}
