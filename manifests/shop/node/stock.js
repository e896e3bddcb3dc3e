// The stock: how many there are of a product, by gRPC.
'use strict';
const { serve } = require('./grpc.js');

serve({ '/shop.Stock/Count': (product) => 3 + (Number(product) * 7) % 40 }, 9090);
