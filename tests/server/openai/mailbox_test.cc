#include "server/openai/mailbox.h"

#include <gtest/gtest.h>

namespace switchyard::openai {
namespace {

RequestUpdate Update(const std::string& text, int32_t id) {
  RequestUpdate update;
  update.text = text;
  update.tokens.push_back({.id = id});
  return update;
}

TEST(Mailbox, KeepsUpdatesApartUntilTooManyWait) {
  Mailbox mailbox({.num_choices = 2, .merge_after = 2});
  for (int i = 0; i < 5; ++i) mailbox.Put(1, Update(std::to_string(i), i));
  RequestUpdate last = Update("5", 5);
  last.finish = FinishReason::kLength;
  mailbox.Put(1, last);
  const std::vector<Mailbox::Letter> letters = mailbox.TakeAll();
  ASSERT_EQ(letters.size(), 2u);
  EXPECT_EQ(letters[0].choice, 1u);
  EXPECT_EQ(letters[0].update.text, "0");
  EXPECT_EQ(letters[1].update.text, "12345");
  EXPECT_EQ(letters[1].update.tokens.size(), 5u);
  EXPECT_EQ(letters[1].update.finish, FinishReason::kLength);
  EXPECT_EQ(mailbox.num_finished(), 1u);
  EXPECT_TRUE(mailbox.TakeAll().empty());
}

TEST(Mailbox, TellsOnceThatItOverflowed) {
  Mailbox mailbox({.num_choices = 1, .merge_after = 1, .max_bytes = 5000});
  EXPECT_EQ(mailbox.Put(0, Update("a", 1)), Mailbox::Delivery::kKept);
  EXPECT_EQ(mailbox.Put(0, Update(std::string(6000, 'b'), 2)), Mailbox::Delivery::kOverflowed);
  EXPECT_EQ(mailbox.Put(0, Update("c", 3)), Mailbox::Delivery::kDropped);
  EXPECT_TRUE(mailbox.overflowed());
}

TEST(Mailbox, ReadingMakesRoom) {
  Mailbox mailbox({.num_choices = 1, .merge_after = 8, .max_bytes = 5000});
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(mailbox.Put(0, Update(std::string(4000, 'b'), 2)), Mailbox::Delivery::kKept);
    EXPECT_EQ(mailbox.TakeAll().size(), 1u);
  }
}

TEST(Mailbox, DropsEverythingOnceClosed) {
  Mailbox mailbox({.num_choices = 1});
  mailbox.Put(0, Update("a", 1));
  mailbox.Close();
  EXPECT_EQ(mailbox.Put(0, Update("b", 1)), Mailbox::Delivery::kDropped);
  EXPECT_TRUE(mailbox.TakeAll().empty());
}

}  // namespace
}  // namespace switchyard::openai
