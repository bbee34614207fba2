/** Runs the programs that the page about licence keys shows, all with the same keys. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type APIRequestContext, test as withoutBrowser } from "@playwright/test";
import { genuine, publicKeys, rejected } from "./licence-keys";
import { run } from "./run";
import { expect, required, test } from "./stack";

async function withFile(content: string, use: (file: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "verify-"));
  try {
    const file = join(folder, "jwks.json");
    await writeFile(file, content);
    await use(file);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function bought(request: APIRequestContext): Promise<{ id: string; key: string }> {
  const receipt = await request.post("/api/buy_mpi", { data: { license: "pro" } });
  const { purchase_id: id } = (await receipt.json()) as { purchase_id: string };
  const answer = await request.get(`/api/purchases/${id}/license_key`);
  return { id, key: ((await answer.json()) as { license_key: string }).license_key };
}

const programs = [
  ["javascript", "verify.mjs", (program: string, args: string[]) => run(process.execPath, [program, ...args])],
  [
    "python",
    "verify.py",
    (program: string, args: string[]) =>
      run("python3", [program, ...args], { PYTHONPATH: required("VERIFY_PYTHONPATH") }),
  ],
  // Built with the workspace from the file that the page shows.
  ["rust", "verify.rs", (_program: string, args: string[]) => run(required("VERIFY_RUST"), args)],
] as const;

for (const [language, file, command] of programs) {
  const program = new URL(`../verify/${file}`, import.meta.url);

  test(`the ${language} program on the page accepts a licence key of the shop`, async ({ page, request }) => {
    await page.goto("/verify.html");
    const shown = await page.getByTestId(language).evaluate((code) => code.textContent);
    expect(shown).toBe(await readFile(program, "utf8"));
    const keys = await (await request.get("/api/jwks.json")).text();
    const { id, key } = await bought(request);
    await withFile(keys, async (jwks) => {
      const genuine = await command(fileURLToPath(program), [key, jwks]);
      expect(genuine, genuine.stderr).toMatchObject({ code: 0 });
      expect(genuine.stdout).toContain(`genuine: pro, purchase ${id}, bought `);
    });
  });

  withoutBrowser(`the ${language} program accepts a genuine licence key in one spelling only`, async () => {
    await withFile(JSON.stringify(publicKeys), async (jwks) => {
      for (const [what, key] of Object.entries(genuine())) {
        const ended = await command(fileURLToPath(program), [key, jwks]);
        expect(ended, `${what}: ${ended.stderr}`).toMatchObject({ code: 0 });
      }
      const accepted: string[] = [];
      for (const [what, key] of Object.entries(rejected())) {
        const { code, stdout, stderr } = await command(fileURLToPath(program), [key, jwks]);
        if (code !== 1 || stdout !== "" || !stderr.includes("not genuine: ")) {
          accepted.push(what);
        }
      }
      expect(accepted).toEqual([]);
    });
  });
}

test("the page shows the address of the public keys", async ({ page, request }) => {
  await page.goto("/verify.html");
  const address = /curl (\S+) >/.exec(await page.getByTestId("fetch-keys").innerText())?.[1] ?? "";
  const { keys } = (await (await request.get(address)).json()) as { keys: { kty: string; crv: string }[] };
  expect(keys[0]).toMatchObject({ kty: "OKP", crv: "Ed25519" });
});
