"""The tool image_generation: the gateway's image routes, and where the images are kept."""
