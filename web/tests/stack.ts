/** The running system that the tests drive, and a page that reports everything that goes wrong on it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { AxeBuilder } from "@axe-core/playwright";
import { type APIRequestContext, test as base, expect, type Page } from "@playwright/test";

/** Where the APIs and their documentation live; the pages are at Playwright's `baseURL`. */
export const apiUrl = process.env["SALES_API_URL"] ?? "http://sales.localhost:8000";

export const test = base.extend<{
  /** Set by tests that stop a service: the browser then reports the requests that failed. */
  failedRequestsExpected: boolean;
  complaints: string[];
}>({
  failedRequestsExpected: [false, { option: true }],
  // Every console error and uncaught exception; a violation of the content security policy is one of them.
  complaints: [
    async ({ page, failedRequestsExpected }, use) => {
      const complaints: string[] = [];
      page.on("pageerror", (error) => complaints.push(String(error)));
      page.on("console", (message) => {
        const isFailedRequest = message.text().startsWith("Failed to load resource");
        if (message.type() === "error" && !(isFailedRequest && failedRequestsExpected)) {
          complaints.push(message.text());
        }
      });
      await use(complaints);
      expect(complaints).toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };

export interface Totals {
  sales_count: number;
  revenue: { amount_minor: number; currency: string };
  position: number;
}

/** The totals as the API tells them, not before they reflect `minPosition`. */
export async function readTotals(request: APIRequestContext, minPosition = 0): Promise<Totals> {
  const response = await request.get(`/api/get_current_money?min_position=${minPosition}`);
  expect(response.status()).toBe(200);
  return (await response.json()) as Totals;
}

/** Buys past the pages, as another customer would, and returns the position. */
export async function buyElsewhere(request: APIRequestContext, license: string): Promise<number> {
  const response = await request.post("/api/buy_mpi", {
    data: { license },
    headers: { "Idempotency-Key": crypto.randomUUID() },
  });
  expect(response.status()).toBe(201);
  return ((await response.json()) as { position: number }).position;
}

/**
 * How many purchases were made since `before`. The log has one order, so a purchase made now and counted too shows that
 * everything before it is counted; it is taken off again.
 */
export async function purchasesSince(request: APIRequestContext, before: Totals): Promise<number> {
  const after = await readTotals(request, await buyElsewhere(request, "basic"));
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

/** Kills every process of a service; the stack starts it again. */
export function kill(service: string): void {
  pidsOf(service).forEach((pid) => process.kill(pid, "SIGKILL"));
}

/** Buys so many licences from another process, one after the other. */
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

/** The page as it is now, in light and dark and as narrow as a page has to work: nobody is kept from any of it. */
export async function expectAccessible(page: Page): Promise<void> {
  const before = page.viewportSize();
  for (const [colorScheme, width] of [
    ["light", 1280],
    ["dark", 1280],
    ["light", 320],
  ] as const) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 800 });
    const { violations } = await new AxeBuilder({ page }).setLegacyMode().analyze();
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
    expect(found, `${colorScheme}, ${width} px wide`).toEqual([]);
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
  }
  await page.setViewportSize(before ?? { width: 1280, height: 720 });
}

function pidsOf(service: string): number[] {
  const path = process.env["SALES_STATE"];
  if (path === undefined) {
    throw new Error("SALES_STATE must name the file `state.json` in the running stack's data folder");
  }
  const { processes } = JSON.parse(readFileSync(path, "utf8")) as { processes: { name: string; id: { pid: number } }[] };
  const pids = processes.filter(({ name }) => new RegExp(`^${service}(-\\d+)?$`).test(name)).map(({ id }) => id.pid);
  expect(pids, `processes of ${service}`).not.toEqual([]);
  return pids;
}
