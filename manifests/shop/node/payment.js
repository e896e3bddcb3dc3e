// The payment: takes money, in a manner of speaking. Made to fail: PUT /fault.
'use strict';
const { randomUUID } = require('node:crypto');
const { serve, Failure } = require('./shop.js');

serve({
  'POST /charge': async ({ body }) => {
    if (!Number.isSafeInteger(body.cents) || body.cents < 0) {
      throw new Failure(400, 'say how much, as {"cents": 995}');
    }
    return { receipt: randomUUID(), cents: body.cents };
  },
});
