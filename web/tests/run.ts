/** Runs a program to its end. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

export interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

export async function run(
  program: string,
  args: readonly string[],
  environment: Record<string, string> = {},
): Promise<Ended> {
  try {
    const ended = await promisify(execFile)(program, args, { env: { ...process.env, ...environment } });
    return { code: 0, ...ended };
  } catch (error) {
    return error as Ended;
  }
}
