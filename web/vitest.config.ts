import { defineConfig } from "vitest/config";

// Apart from vite.config.ts, which must load where only the build's own dependencies are installed.
export default defineConfig({ test: { include: ["src/**/*.test.ts"] } });
