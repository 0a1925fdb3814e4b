"""Gems, as RubyGems and Bundler install them."""
