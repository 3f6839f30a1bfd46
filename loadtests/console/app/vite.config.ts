import { defineConfig } from "vite";

// Relative addresses, because Locust may serve the page below another path. Locust serves only what is in assets/.
export default defineConfig({
  base: "./",
  build: {
    assetsDir: "assets",
    chunkSizeWarningLimit: 2000,
    rolldownOptions: {
      // Of thousands of icons, which are left out of the result.
      onwarn: (warning, warn) => warning.code !== "MODULE_LEVEL_DIRECTIVE" && warn(warning),
    },
  },
});
