import { vi } from "vitest";

// Node.js has no page, whose origin the client adds to every address.
vi.stubGlobal("location", new URL("http://shop.example/"));
