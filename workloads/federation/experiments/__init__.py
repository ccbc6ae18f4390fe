"""The paper's experiments on what the product itself produces: performance and data consumption."""
