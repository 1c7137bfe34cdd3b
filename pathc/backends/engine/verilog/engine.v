// The engine: dispatcher, queues, five units and the banks. Program, settings, parameters, tables, curves and what lies
// outside are memories beside it that answer in the cycle after they were asked; parameters, tables and curves are for
// the machine in the definitions above.
module pe_engine #(
    parameter LANES = `PE_LANES,
    parameter LANE_BITS = `PE_LANE_BITS,
    parameter ACC = `PE_ACC
) (
    input  wire clk,
    input  wire reset,
    output wire [15:0] code_address,
    input  wire [127:0] code_word,
    output wire [11:0] config_address,
    input  wire [31:0] config_word,
    output wire [11:0] parameter_address,
    input  wire [128*LANES-1:0] parameter_word,
    output wire [12*LANES-1:0] curve_address,
    input  wire [8*LANES-1:0] curve_word,
    output wire [19:0] table_address,
    input  wire [32*LANES-1:0] table_word,
    output wire [39:0] input_address,
    input  wire [8*LANES-1:0] input_row,
    output wire [31:0] weight_address,
    input  wire [8*LANES-1:0] weight_row,
    output wire output_write,
    output wire [39:0] output_address,
    output wire [32*LANES-1:0] output_row,
    output wire [31:0] steps,
    output wire [39:0] products,
    output wire [39:0] silent,
    output wire [31:0] empty,
    output wire halted,
    output wire [31:0] cycles
);
  localparam LD = 1, WS = 2, EX = 3, PP = 4, ST = 5, WORDS = `PE_SLOT_WORDS;
  wire [5:1] push, full, some, busy, done, ready, start;
  wire [144:0] entry;
  wire [144:0] head[1:5];
  wire [5:0] tokens, own_take, own_give;
  reg [5:0] take, give;
  reg [5:0] posts[1:5];
  wire slot_write;
  wire [3:0] slot_number;
  wire [4:0] slot_word;
  wire [32*WORDS-1:0] execute_slot, activate_slot;

  pe_dispatch dispatch (
      clk, reset, code_address, code_word, push, entry, full, some == 0 && busy == 0, tokens, own_take, own_give,
      config_address, slot_write, slot_number, slot_word, halted, cycles
  );
  wire [3:0] execute_number = head[EX][`PE_PATH_slot];
  wire [3:0] activate_number = head[PP][`PE_ACT_slot];
  pe_slots #(WORDS) slots (
      clk, slot_write, slot_number, slot_word, config_word, execute_number, activate_number, execute_slot, activate_slot
  );
  pe_tokens counters (clk, reset, give, take, tokens);

  genvar u;
  generate
    for (u = 1; u <= 5; u = u + 1) begin : unit
      pe_queue #(`PE_QUEUE, `PE_QUEUE_BITS, 145) queue (
          clk, reset, push[u], entry, start[u], head[u], some[u], full[u]
      );
      wire [127:0] word = head[u][127:0];
      assign ready[u] = (word[`PE_wait] & ~tokens) == 0;
      assign start[u] = some[u] && !busy[u] && ready[u] && !reset;
      always @(posedge clk) if (start[u]) posts[u] <= word[`PE_post];
    end
  endgenerate
  integer n;
  always @* begin
    take = own_take;
    give = own_give;
    for (n = 1; n <= 5; n = n + 1) begin
      if (start[n]) take = take | head[n][`PE_wait];
      if (done[n]) give = give | posts[n];
    end
  end

  wire load_write, load_buffer;
  wire [10:0] load_row;
  pe_load #(LANES, `PE_ROW_INTERVAL, `PE_MEMORY_LATENCY) load (
      clk, reset, start[LD], head[LD][127:0], head[LD][143:128], head[LD][144], busy[LD], done[LD], input_address,
      load_write, load_buffer, load_row
  );

  wire weights_push, weights_full, weights_pop, weights_some;
  wire [8*LANES-1:0] weights_in, weights;
  pe_stream #(LANES, `PE_WEIGHT_INTERVAL_0, `PE_WEIGHT_INTERVAL_1, `PE_WEIGHT_INTERVAL_2, `PE_WEIGHT_LATENCY) stream (
      clk, reset, start[WS], head[WS][127:0], busy[WS], done[WS], weight_address, weight_row, weights_full, weights_push,
      weights_in
  );
  pe_fifo #(`PE_FIFO, `PE_FIFO_BITS, 8 * LANES) fifo (
      clk, reset, weights_push, weights_in, weights_pop, weights, weights_some, weights_full
  );

  wire [11*LANES-1:0] read_rows, execute_rows, execute_write_rows;
  wire [8*LANES-1:0] read_0, read_1;
  wire [ACC*LANES-1:0] execute_sums, execute_written;
  wire [LANES-1:0] execute_write;
  pe_execute #(LANES, LANE_BITS, ACC, `PE_FORWARDING, `PE_TABLES, WORDS) execute (
      clk, reset, start[EX], head[EX][127:0], head[EX][144], busy[EX], done[EX], execute_slot, table_address, table_word,
      weights_some, weights_pop, weights, read_rows, read_0, read_1, execute_rows, execute_sums, execute_write,
      execute_write_rows, execute_written, steps, products, silent, empty
  );

  wire activate_write_sums, activate_write, activate_buffer;
  wire [10:0] activate_row, activate_write_sum_row, activate_write_row;
  wire [ACC*LANES-1:0] activate_sums, activate_written_sums;
  wire [8*LANES-1:0] activate_written;
  pe_activate #(LANES, LANE_BITS, ACC) activate (
      clk, reset, start[PP], head[PP][127:0], head[PP][144], busy[PP], done[PP], activate_slot[95:32], activate_row,
      activate_sums, parameter_address, parameter_word, curve_address, curve_word, activate_write_sums,
      activate_write_sum_row,
      activate_written_sums, activate_write, activate_buffer, activate_write_row, activate_written
  );

  wire store_buffer, store_wide;
  wire [10:0] store_row;
  wire [8*LANES-1:0] store_0, store_1;
  wire [ACC*LANES-1:0] store_sums;
  pe_store #(LANES, `PE_ROW_INTERVAL, `PE_MEMORY_LATENCY) store (
      clk, reset, start[ST], head[ST][127:0], head[ST][143:128], head[ST][144], busy[ST], done[ST], store_row,
      store_buffer, store_wide, output_write, output_address
  );

  wire [1:0] load_to = {load_write && load_buffer, load_write && !load_buffer};
  wire [1:0] activate_to = {activate_write && activate_buffer, activate_write && !activate_buffer};
  genvar m;
  generate
    for (m = 0; m < LANES; m = m + 1) begin : lane
      wire [7:0] loaded = input_row[8*m+:8];
      wire [7:0] activated = activate_written[8*m+:8];
      wire [7:0] byte_out = store_buffer ? store_1[8*m+:8] : store_0[8*m+:8];
      wire signed [ACC-1:0] sum_out = store_sums[ACC*m+:ACC];
      wire signed [31:0] wide_out = sum_out;
      assign output_row[32*m+:32] = store_wide ? wide_out : {24'd0, byte_out};
      pe_bank #(`PE_ROWS, `PE_ROWS_BITS, `PE_SUMS, `PE_SUMS_BITS, ACC) bank (
          clk, load_to | activate_to, load_to[0] ? load_row : activate_write_row,
          load_to[1] ? load_row : activate_write_row, load_to[0] ? loaded : activated, load_to[1] ? loaded : activated,
          read_rows[11*m+:11], read_0[8*m+:8], read_1[8*m+:8], store_row, store_0[8*m+:8], store_1[8*m+:8],
          store_sums[ACC*m+:ACC], execute_rows[11*m+:11], execute_sums[ACC*m+:ACC], execute_write[m],
          execute_write_rows[11*m+:11], execute_written[ACC*m+:ACC], activate_row, activate_sums[ACC*m+:ACC],
          activate_write_sums, activate_write_sum_row, activate_written_sums[ACC*m+:ACC]
      );
    end
  endgenerate
endmodule
