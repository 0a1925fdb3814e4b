"""Writing images: layers, documents, layouts and archives."""
