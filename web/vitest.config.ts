import { defineConfig } from "vitest/config";

// Separate from vite.config.ts, which must load without the development dependencies.
export default defineConfig({ test: { include: ["src/**/*.test.ts"], setupFiles: ["vitest.setup.ts"] } });
