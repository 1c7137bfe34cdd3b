// Unit of path step << LANE_BITS, one step a cycle: the XOR of the matrix columns at the set bits of the step.
// From one step to the next the lowest bits up to the first that was zero flip, so one XOR with the sum of the columns
// up to that bit is enough; these sums are what `prefix` holds, and they are constant during a junction.
module pe_generator #(
    parameter UNIT_BITS = 8,
    parameter STEP_BITS = 10
) (
    input  wire clk,
    input  wire load,
    input  wire enable,
    input  wire [STEP_BITS-1:0] first_step,
    input  wire [UNIT_BITS-1:0] first_unit,
    input  wire [UNIT_BITS*STEP_BITS-1:0] prefix,
    output reg  [UNIT_BITS-1:0] unit
);
  reg [STEP_BITS-1:0] step;
  reg [UNIT_BITS-1:0] flip;
  integer k;
  always @* begin
    flip = {UNIT_BITS{1'b0}};
    for (k = STEP_BITS - 1; k >= 0; k = k - 1) if (!step[k]) flip = prefix[k*UNIT_BITS+:UNIT_BITS];
  end
  always @(posedge clk)
    if (load) begin
      step <= first_step;
      unit <= first_unit;
    end else if (enable) begin
      step <= step + 1'b1;
      unit <= unit ^ flip;
    end
endmodule
