// PP: rows of sums folded, biased, requantized to the nearest with ties to even, clamped, and looked up if there is a
// curve; or put back, if `wide`. Curves are memories beside it, one byte a lane.
module pe_activate #(
    parameter LANES = 16,
    parameter LANE_BITS = 4,
    parameter ACC = 32
) (
    input  wire clk,
    input  wire reset,
    input  wire start,
    input  wire [127:0] word,
    input  wire swapped,
    output reg  busy,
    output wire done,
    input  wire [63:0] masks,
    output wire [10:0] sum_row,
    input  wire [ACC*LANES-1:0] sums,
    output wire [11:0] parameter_row,
    input  wire [128*LANES-1:0] parameters,
    output wire [12*LANES-1:0] curve_address,
    input  wire [8*LANES-1:0] curve_word,
    output wire write_sums,
    output wire [10:0] write_sum_row,
    output wire [ACC*LANES-1:0] written_sums,
    output wire write,
    output reg  buffer,
    output wire [10:0] write_row,
    output wire [8*LANES-1:0] written
);
  reg running, wide;
  reg [3:0] fold, phase, curve;
  reg [11:0] left, parameter_at;
  reg [10:0] sum_at, row_at;
  reg [63:0] held_masks;
  reg signed [8:0] low, high;
  wire last_phase = running && phase == fold;
  assign sum_row = sum_at;
  assign parameter_row = parameter_at;

  // Folding: `sums` are there in the cycle after the row was asked for, later sums are in `folded`.
  reg [ACC*LANES-1:0] folded;
  reg first;
  reg [7:0] mask;
  wire [ACC*LANES-1:0] now = first ? sums : folded;
  wire [ACC*LANES-1:0] exchanged;
  pe_permuter #(LANE_BITS, ACC) permuter (mask[LANE_BITS-1:0], now, exchanged);

  // Stage 1: bias and multiplication. Stage 2: rounding, clamping, writing. Stage 3: writing what a curve says.
  reg x1_valid, x2_valid, x3_valid, x3_last, x2_last, x1_last;
  reg [10:0] x1_sum, x1_row, x2_sum, x2_row, x3_row;
  wire curved = curve != 0;
  wire [3:0] curve_number = curve - 1'b1;
  reg [ACC*LANES-1:0] x2_biased;
  assign write_sums = x2_valid;
  assign write_sum_row = x2_sum;
  assign write = (curved ? x3_valid : x2_valid) && !wide;
  assign write_row = curved ? x3_row : x2_row;
  assign written_sums = wide ? x2_biased : {ACC * LANES{1'b0}};
  assign done = curved ? x3_valid && x3_last : x2_valid && x2_last;

  genvar m;
  generate
    for (m = 0; m < LANES; m = m + 1) begin : lane
      wire signed [ACC-1:0] biased = now[ACC*m+:ACC] + parameters[128*m+:ACC];
      wire signed [16:0] factor = biased[ACC-1] ? parameters[128*m+64+:17] : parameters[128*m+32+:17];
      reg signed [ACC+16:0] product;
      reg [5:0] places;
      // One bit is appended, so that the bit below the result exists for a shift by 0 as well.
      wire signed [ACC+17:0] longer = {product, 1'b0};
      wire signed [ACC+17:0] shifted = longer >>> places;
      wire signed [ACC+17:0] beyond = longer & ~({ACC + 18{1'b1}} << places);
      wire up = shifted[0] && (beyond != 0 || shifted[1]);
      wire signed [ACC+17:0] whole = shifted >>> 1;
      wire signed [ACC+17:0] rounded = whole + $signed({1'b0, up});
      wire [8:0] clamped = rounded < low ? low : rounded > high ? high : rounded[8:0];
      assign curve_address[12*m+:12] = {curve_number, clamped[7:0]};
      assign written[8*m+:8] = curved ? curve_word[8*m+:8] : clamped[7:0];
      always @(posedge clk) begin
        folded[ACC*m+:ACC] <= now[ACC*m+:ACC] + exchanged[ACC*m+:ACC];
        x2_biased[ACC*m+:ACC] <= biased;
        product <= biased * factor;
        places <= parameters[128*m+96+:6];
      end
    end
  endgenerate

  always @(posedge clk) begin
    first <= phase == 0;
    mask <= held_masks[8*phase+:8];
    x1_valid <= last_phase && !reset;
    x1_last <= left == 1;
    x1_sum <= sum_at;
    x1_row <= row_at;
    x2_valid <= x1_valid && !reset;
    x2_last <= x1_last;
    x2_sum <= x1_sum;
    x2_row <= x1_row;
    x3_valid <= x2_valid && !reset;
    x3_last <= x2_last;
    x3_row <= x2_row;
    if (start) begin
      wide <= word[`PE_ACT_wide];
      fold <= word[`PE_ACT_fold];
      curve <= word[`PE_ACT_curve];
      left <= word[`PE_ACT_rows];
      parameter_at <= word[`PE_ACT_parameters];
      sum_at <= word[`PE_ACT_sum];
      row_at <= word[`PE_ACT_row];
      buffer <= word[`PE_ACT_buffer] ^ swapped;
      low <= word[`PE_ACT_low];
      high <= word[`PE_ACT_high];
      held_masks <= masks;
      phase <= 0;
    end else if (last_phase) begin
      phase <= 0;
      left <= left - 1'b1;
      parameter_at <= parameter_at + 1'b1;
      sum_at <= sum_at + 1'b1;
      row_at <= row_at + 1'b1;
    end else if (running) phase <= phase + 1'b1;
    running <= !reset && (start || (running && !(last_phase && left == 1)));
    busy <= !reset && (start || (busy && !done));
  end
endmodule
