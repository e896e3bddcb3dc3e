// The catalog: products with their reviews, and how many are in stock.
'use strict';
const { call, serve, Failure } = require('./shop.js');
const { client } = require('./grpc.js');

const NAMES = ['anchor', 'bell', 'compass', 'dinghy', 'engine', 'fender', 'gaff', 'halyard', 'iron'];
const PRODUCTS = NAMES.map((name, index) => ({ id: String(index + 1), name, cents: 995 + 500 * index }));
const stock = client(process.env.STOCK ?? 'http://stock:9090');

async function product({ rest, context }) {
  const found = PRODUCTS.find(({ id }) => id === rest);
  if (!found) throw new Failure(404, `no product ${rest}: there are 1 to ${PRODUCTS.length}`);
  const [reviews, inStock] = await Promise.all([
    call(context, `http://reviews/reviews/${found.id}`),
    stock.call('/shop.Stock/Count', found.id, context),
  ]);
  return { ...found, reviews, inStock };
}

serve({
  'GET /products/': product,
  'GET /products': async () => PRODUCTS,
});
