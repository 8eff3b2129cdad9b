"""Our networks beside those of torchvision and timm, with the same weights."""
