// Reads the program: an instruction a cycle into the queue of its unit, or one of its own carried out in place.
module pe_dispatch #(
    parameter UNITS = 6
) (
    input  wire clk,
    input  wire reset,
    output wire [15:0] code_address,
    input  wire [127:0] code_word,
    output reg  [UNITS-1:1] push,
    output wire [144:0] entry,
    input  wire [UNITS-1:1] full,
    input  wire idle,
    input  wire [5:0] tokens,
    output wire [5:0] take,
    output wire [5:0] give,
    output wire [11:0] config_address,
    output reg  slot_write,
    output reg  [3:0] slot_number,
    output reg  [4:0] slot_word,
    output reg  halted,
    output reg  [31:0] cycles
);
  wire [4:0] op = code_word[`PE_op];
  wire [2:0] unit = code_word[`PE_unit];
  reg [15:0] counter, round;
  reg swapped;
  reg [4:0] word;

  wire own = unit == 0;
  wire waits = op == `PE_OP_HALT || op == `PE_OP_SYNC;
  wire configures = op == `PE_OP_CFG;
  wire loops = op == `PE_OP_LOOP;
  wire last_word = word + 1'b1 == code_word[`PE_CFG_words];
  wire can_begin = (code_word[`PE_wait] & ~tokens) == 0 && (idle || !waits);
  wire begins = own && !halted && word == 0 && can_begin;
  wire works = begins || word != 0;
  wire ends = works && (!configures || last_word);
  wire again = loops && round + 1'b1 < code_word[`PE_LOOP_count];
  wire queued = !own && !full[unit] && !halted;

  assign take = begins ? code_word[`PE_wait] : 6'd0;
  assign give = ends ? code_word[`PE_post] : 6'd0;
  assign entry = {swapped, round, code_word};
  assign config_address = code_word[`PE_CFG_address] + word;
  wire [15:0] next = reset ? 16'd0
                   : ends && again ? counter - code_word[`PE_LOOP_length]
                   : (ends && op != `PE_OP_HALT) || queued ? counter + 1'b1 : counter;
  assign code_address = next;
  always @* begin
    push = 0;
    push[unit == 0 ? 1 : unit] = queued && !reset;
  end
  always @(posedge clk) begin
    counter <= next;
    slot_write <= works && configures && !reset;
    slot_number <= code_word[`PE_CFG_slot];
    slot_word <= word;
    if (reset) begin
      round <= 0;
      swapped <= 0;
      word <= 0;
      halted <= 0;
      cycles <= 0;
    end else if (!halted) begin
      cycles <= cycles + 1'b1;
      if (works && configures) word <= last_word ? 5'd0 : word + 1'b1;
      if (ends && op == `PE_OP_SWAP) swapped <= !swapped;
      if (ends && loops) round <= again ? round + 1'b1 : 16'd0;
      if (ends && op == `PE_OP_HALT) halted <= 1;
    end
  end
endmodule

// Settings of the generators. A word that is on its way in is seen already; the first word of a slot clears the others.
module pe_slots #(
    parameter WORDS = 27
) (
    input  wire clk,
    input  wire write,
    input  wire [3:0] number,
    input  wire [4:0] word,
    input  wire [31:0] data,
    input  wire [3:0] first,
    input  wire [3:0] second,
    output reg  [32*WORDS-1:0] first_slot,
    output reg  [32*WORDS-1:0] second_slot
);
  reg [32*WORDS-1:0] slots[0:15];
  reg [32*WORDS-1:0] next;
  integer k;
  initial for (k = 0; k < 16; k = k + 1) slots[k] = 0;
  always @* begin
    next = word == 0 ? {32 * WORDS{1'b0}} : slots[number];
    next[word*32+:32] = data;
    first_slot = write && number == first ? next : slots[first];
    second_slot = write && number == second ? next : slots[second];
  end
  always @(posedge clk) if (write) slots[number] <= next;
endmodule
