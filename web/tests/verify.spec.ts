/** Runs the programs that the page about licence keys shows. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { APIRequestContext } from "@playwright/test";
import { expect, required, test } from "./stack";

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

async function run(program: string, args: readonly string[], environment: Record<string, string> = {}): Promise<Ended> {
  try {
    const ended = await promisify(execFile)(program, args, { env: { ...process.env, ...environment } });
    return { code: 0, ...ended };
  } catch (error) {
    return error as Ended;
  }
}

const text = (part: unknown): string => Buffer.from(JSON.stringify(part)).toString("base64url");
const parsed = (part = ""): object => JSON.parse(Buffer.from(part, "base64url").toString()) as object;

/** Variations of a genuine key that must be rejected. */
function forged(genuine: string): Record<string, string> {
  const [header = "", claims = "", signature = ""] = genuine.split(".");
  const flipped = Buffer.from(signature, "base64url");
  flipped[0] = (flipped[0] ?? 0) ^ 1;
  return {
    "another licence": `${header}.${text({ ...parsed(claims), license: "enterprise" })}.${signature}`,
    "another signature": `${header}.${claims}.${flipped.toString("base64url")}`,
    "no signature": `${text({ ...parsed(header), alg: "none" })}.${claims}.`,
    "an unknown key id": `${text({ ...parsed(header), kid: "unknown" })}.${claims}.${signature}`,
    "not a key": "licence",
  };
}

async function bought(request: APIRequestContext): Promise<{ id: string; key: string }> {
  const receipt = await request.post("/api/buy_mpi", { data: { license: "pro" } });
  const { purchase_id: id } = (await receipt.json()) as { purchase_id: string };
  const answer = await request.get(`/api/purchases/${id}/license_key`);
  return { id, key: ((await answer.json()) as { license_key: string }).license_key };
}

for (const [language, file, command] of [
  ["javascript", "verify.mjs", (program: string, args: string[]) => run(process.execPath, [program, ...args])],
  [
    "python",
    "verify.py",
    (program: string, args: string[]) =>
      run("python3", [program, ...args], { PYTHONPATH: required("VERIFY_PYTHONPATH") }),
  ],
  // Built with the workspace from the file that the page shows.
  ["rust", "verify.rs", (_program: string, args: string[]) => run(required("VERIFY_RUST"), args)],
] as const) {
  test(`the ${language} program on the page accepts a genuine licence key and rejects forged ones`, async ({
    page,
    request,
  }) => {
    await page.goto("/verify.html");
    const shown = await page.getByTestId(language).evaluate((code) => code.textContent);
    expect(shown).toBe(await readFile(new URL(`../verify/${file}`, import.meta.url), "utf8"));

    const folder = await mkdtemp(join(tmpdir(), "verify-"));
    try {
      const [program, keys] = [join(folder, file), join(folder, "jwks.json")];
      await writeFile(program, shown);
      await writeFile(keys, await (await request.get("/api/jwks.json")).body());
      const { id, key } = await bought(request);
      const genuine = await command(program, [key, keys]);
      expect(genuine, genuine.stderr).toMatchObject({ code: 0 });
      expect(genuine.stdout).toContain(`genuine: pro, purchase ${id}, bought `);
      for (const [what, invalid] of Object.entries(forged(key))) {
        const rejected = await command(program, [invalid, keys]);
        expect(rejected.code, what).toBe(1);
        expect(rejected.stderr, what).toContain("not genuine");
        expect(rejected.stdout, what).toBe("");
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  });
}

test("the page shows the address of the public keys", async ({ page, request }) => {
  await page.goto("/verify.html");
  const address = /curl (\S+) >/.exec(await page.getByTestId("fetch-keys").innerText())?.[1] ?? "";
  const { keys } = (await (await request.get(address)).json()) as { keys: { kty: string; crv: string }[] };
  expect(keys[0]).toMatchObject({ kty: "OKP", crv: "Ed25519" });
});
