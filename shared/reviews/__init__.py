"""Reviews: what haematologists say of results, and how often they agree with them."""
