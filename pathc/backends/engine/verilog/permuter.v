// Lane l gets the word of bank l ^ constant: a shuffle network of log2(LANES) stages, two of them in one 4:1 multiplexer.
module pe_permuter #(
    parameter LANE_BITS = 4,
    parameter WIDTH = 8
) (
    input  wire [LANE_BITS-1:0] constant,
    input  wire [(WIDTH << LANE_BITS)-1:0] banks,
    output wire [(WIDTH << LANE_BITS)-1:0] lanes
);
  localparam PAIRS = (LANE_BITS + 1) / 2;
  wire [2*PAIRS-1:0] select = constant;
  wire [(WIDTH << LANE_BITS)-1:0] stage[0:PAIRS];
  assign stage[0] = banks;
  assign lanes = stage[PAIRS];
  genvar p, l;
  generate
    for (p = 0; p < PAIRS; p = p + 1) begin : pair
      for (l = 0; l < 1 << LANE_BITS; l = l + 1) begin : lane
        localparam A = l ^ 1 << 2 * p;
        localparam B = 2 * p + 1 < LANE_BITS ? l ^ 2 << 2 * p : l;
        localparam C = 2 * p + 1 < LANE_BITS ? l ^ 3 << 2 * p : l;
        assign stage[p+1][l*WIDTH+:WIDTH] =
            select[2*p+1] ? (select[2*p] ? stage[p][C*WIDTH+:WIDTH] : stage[p][B*WIDTH+:WIDTH])
                          : (select[2*p] ? stage[p][A*WIDTH+:WIDTH] : stage[p][l*WIDTH+:WIDTH]);
      end
    end
  endgenerate
endmodule
