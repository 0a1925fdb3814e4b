"""Packages of Node.js, as npm, pnpm and yarn install them."""
