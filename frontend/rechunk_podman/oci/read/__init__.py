"""Reading images: layouts, archives, layers, and the tree that a client makes of them."""
