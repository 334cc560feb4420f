"""The shipped domains; inside the wheel this folder is the package `factory.domains`."""
