// Instructions on their way to a unit, in order. What is pushed in one cycle is at the head in the next; `full` is as
// it was at the beginning of the cycle.
module pe_queue #(
    parameter DEPTH = 4,
    parameter COUNT_BITS = 3,
    parameter WIDTH = 128
) (
    input  wire clk,
    input  wire reset,
    input  wire push,
    input  wire [WIDTH-1:0] in,
    input  wire pop,
    output wire [WIDTH-1:0] head,
    output wire some,
    output wire full
);
  localparam [COUNT_BITS-1:0] LAST = DEPTH - 1;
  localparam [COUNT_BITS-1:0] ALL = DEPTH;
  reg [WIDTH-1:0] entries[0:DEPTH-1];
  reg [COUNT_BITS-1:0] count, first, free;
  assign head = entries[first];
  assign some = count != 0;
  assign full = count == ALL;
  always @(posedge clk) begin
    if (push) entries[free] <= in;
    if (reset) begin
      count <= 0;
      first <= 0;
      free <= 0;
    end else begin
      count <= count + push - pop;
      if (push) free <= free == LAST ? 0 : free + 1'b1;
      if (pop) first <= first == LAST ? 0 : first + 1'b1;
    end
  end
endmodule

// Counters of the tokens that order the units. One unit gives a kind and one takes it, a token a cycle each.
module pe_tokens #(
    parameter KINDS = 6
) (
    input  wire clk,
    input  wire reset,
    input  wire [KINDS-1:0] give,
    input  wire [KINDS-1:0] take,
    output wire [KINDS-1:0] some
);
  genvar k;
  generate
    for (k = 0; k < KINDS; k = k + 1) begin : kind
      reg [15:0] count;
      assign some[k] = count != 0;
      always @(posedge clk) count <= reset ? 16'd0 : count + give[k] - take[k];
    end
  endgenerate
endmodule
