/** The proof of a purchase: verified by the page in the browser, and by the program that the page about verification shows. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { APIRequestContext, Page } from "@playwright/test";
import { run } from "./run";
import { expect, required, test } from "./stack";

interface Proof {
  event: string;
  position: number;
  tree_size: number;
  hashes: string[];
  checkpoint: string;
}

const PROOF = "**/api/events/*/proof";

async function buy(page: Page): Promise<string> {
  await page.goto("/");
  await page.getByTestId("offers").getByRole("button").first().click();
  const id = page.getByTestId("receipt-id");
  await expect(id).toHaveText(/-/);
  return id.innerText();
}

async function proofOf(request: APIRequestContext, id: string): Promise<Proof> {
  return (await (await request.get(`/api/events/${id}/proof`)).json()) as Proof;
}

/** The page receives the proof as changed by the server, or by anyone in between. */
async function tamper(page: Page, change: (proof: Proof) => Partial<Proof>): Promise<void> {
  await page.route(PROOF, async (route) => {
    const response = await route.fetch();
    const proof = (await response.json()) as Proof;
    await route.fulfill({ response, json: { ...proof, ...change(proof) } });
  });
}

const languages = [
  { locale: "de-DE", verify: "Nachweis prüfen", proven: "Bewiesen: Der Kauf steht so im Buch." },
  { locale: "en-GB", verify: "Verify proof", proven: "Proven: the ledger contains this purchase as shown." },
] as const;

for (const { locale, verify, proven } of languages) {
  test.describe(locale, () => {
    test.use({ locale });

    test("a buyer verifies the proof with one click", async ({ page, request }) => {
      const id = await buy(page);
      await page.getByRole("button", { name: verify }).click();
      await expect(page.getByTestId("proof-verdict")).toHaveText(proven);
      const { position, tree_size } = await proofOf(request, id);
      await expect(page.getByTestId("proof-position")).toHaveText(position.toLocaleString(locale));
      const size = Number((await page.getByTestId("proof-size").innerText()).replaceAll(/\D/g, ""));
      expect(size).toBeGreaterThanOrEqual(position);
      expect(size).toBeLessThanOrEqual(tree_size);
      await expect(page.getByTestId("proof-root")).toHaveText(/^[\w+/]{43}=$/);
      await expect(page.getByTestId("proof-key")).toHaveText((await (await request.get("/api/log/key")).text()).trim());
      await expect(page.getByTestId("proof-flaw")).toBeHidden();
    });
  });
}

const tampered: [string, RegExp, (proof: Proof, other: Proof) => Partial<Proof>][] = [
  ["another price", /nicht im signierten Buch/, ({ event }) => ({ event: event.replace('amount_minor":', 'amount_minor":1') })],
  ["the proof of another purchase", /gehört nicht zu diesem Kauf/, (_, other) => other],
  ["another position", /gehört nicht zu diesem Kauf/, ({ position }) => ({ position: position + 1 })],
  ["a path that is too short", /nicht im signierten Buch/, ({ hashes }) => ({ hashes: hashes.slice(1) })],
  ["another size", /gehört nicht zu diesem Nachweis/, ({ tree_size }) => ({ tree_size: tree_size + 1 })],
  ["a forged checkpoint", /nicht mit unserem Schlüssel/, ({ checkpoint }) => ({ checkpoint: checkpoint.replace(/\n(\d+)\n/, "\n1$1\n") })],
  ["no checkpoint", /nicht mit unserem Schlüssel/, () => ({ checkpoint: "" })],
];

for (const [what, reason, change] of tampered) {
  test(`a proof with ${what} is refused`, async ({ page, request }) => {
    const bought = await request.post("/api/buy_mpi", { data: { license: "pro" } });
    const other = await proofOf(request, ((await bought.json()) as { purchase_id: string }).purchase_id);
    await tamper(page, (proof) => change(proof, other));
    await buy(page);
    await page.getByRole("button", { name: "Nachweis prüfen" }).click();
    await expect(page.getByTestId("proof-flaw")).toHaveText(reason);
    await expect(page.getByTestId("proof-verdict")).toBeEmpty();
    await expect(page.getByTestId("proof-facts")).toBeHidden();
    // The genuine one is accepted afterwards.
    await page.unroute(PROOF);
    await page.getByRole("button", { name: "Nachweis prüfen" }).click();
    await expect(page.getByTestId("proof-verdict")).toHaveText(/^Bewiesen/);
    await expect(page.getByTestId("proof-flaw")).toBeHidden();
  });
}

test("a genuine proof is not accepted under another key", async ({ page }) => {
  const other = JSON.parse(
    await readFile(new URL("../../shared/contract/golden/vectors.json", import.meta.url), "utf8"),
  ) as { public_key: string };
  await page.route("**/api/log/key", (route) => route.fulfill({ body: `${other.public_key}\n`, contentType: "text/plain" }));
  await buy(page);
  await page.getByRole("button", { name: "Nachweis prüfen" }).click();
  await expect(page.getByTestId("proof-flaw")).toHaveText(/nicht mit unserem Schlüssel/);
});

test.describe("without an answer", () => {
  test.use({ failedRequestsExpected: true });

  test("the page reports that it cannot verify the proof, not that it is invalid", async ({ page }) => {
    await page.route(PROOF, (route) => route.fulfill({ status: 503 }));
    await buy(page);
    await page.getByRole("button", { name: "Nachweis prüfen" }).click();
    await expect(page.getByTestId("proof-flaw")).toHaveText(/kann gerade nicht geprüft werden/);
  });
});

test("the Python program on the page verifies a downloaded proof with the key whose hash the page shows", async ({
  page,
  request,
}) => {
  const program = new URL("../verify/proof.py", import.meta.url);
  const bought = await request.post("/api/buy_mpi", { data: { license: "basic" } });
  const { purchase_id: id } = (await bought.json()) as { purchase_id: string };
  const proof = await proofOf(request, id);
  await page.goto("/verify.html#proof");
  expect(await page.getByTestId("proof-python").evaluate((code) => code.textContent)).toBe(await readFile(program, "utf8"));
  const address = /curl (\S+) >/.exec(await page.getByTestId("fetch-key").innerText())?.[1] ?? "";
  const key = await (await request.get(address)).body();
  const digest = Buffer.from(await crypto.subtle.digest("SHA-256", new Uint8Array(key))).toString("hex");
  await expect(page.getByTestId("key-hash")).toHaveText(digest);

  const folder = await mkdtemp(join(tmpdir(), "proof-"));
  try {
    const [proofFile, keyFile] = [join(folder, "proof.json"), join(folder, "key.pub")];
    await writeFile(keyFile, key);
    const verify = async (content: Partial<Proof>) => {
      await writeFile(proofFile, JSON.stringify(content));
      const environment = { PYTHONPATH: required("VERIFY_PYTHONPATH") };
      return run("python3", [fileURLToPath(program), proofFile, keyFile], environment);
    };
    const genuine = await verify(proof);
    expect(genuine, genuine.stderr).toMatchObject({ code: 0 });
    expect(genuine.stdout).toContain(`proven: event ${proof.position} of ${proof.tree_size}, root `);
    const other = await proofOf(request, id);
    for (const [what, , change] of tampered) {
      // It does not know which purchase is meant, and ignores the statements outside of the line and the note.
      if (!/another (purchase|position|size)/.test(what)) {
        const refused = await verify({ ...proof, ...change(proof, other) });
        expect(refused, what).toMatchObject({ code: 1, stdout: "" });
        expect(refused.stderr, what).toContain("not proven: ");
      }
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});
