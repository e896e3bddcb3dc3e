"""The reviews: what others thought of a product. Made to be slowed down: PUT /fault."""

from shop import VERSION, serve

SAID = ["does what it says", "arrived late, works well", "bought a second one"]


def reviews(request):
    number = sum(request.rest.encode())
    return 200, {"version": VERSION, "stars": 3 + number % 3, "said": SAID[number % len(SAID)]}


serve({("GET", "/reviews/"): reviews})
