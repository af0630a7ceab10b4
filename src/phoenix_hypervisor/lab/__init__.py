"""A real AppArmor kernel with real LXC inside QEMU."""
