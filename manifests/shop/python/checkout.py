"""The checkout: prices what is in the cart, charges for it, and empties the cart."""

from shop import serve


def checkout(request):
    user = request.rest
    items = request.call("GET", f"http://cart/cart/{user}")["items"]
    total = 0
    for product, count in items.items():
        total += request.call("GET", f"http://catalog/products/{product}")["cents"] * count
    receipt = request.call("POST", "http://payment/charge", {"user": user, "cents": total})
    request.call("DELETE", f"http://cart/cart/{user}")
    return 200, {"user": user, "items": items, "cents": total, "receipt": receipt["receipt"]}


serve({("POST", "/checkout/"): checkout})
