"""Files that boot a machine, read without unpacking them: initramfs archives and unified kernel images."""
