#include "core/experiment/attack_table.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

TEST(AttackTableTest, EveryMethodOfTheSchemaHasARowInItsOrder) {
  const auto* methods = v1::Attack::descriptor()->FindOneofByName("method");
  ASSERT_THAT(AttackTable(), SizeIs(static_cast<size_t>(methods->field_count())));
  for (int i = 0; i < methods->field_count(); ++i) {
    const AttackFacts& facts = AttackTable()[static_cast<size_t>(i)];
    EXPECT_EQ(facts.Name(), methods->field(i)->name());
    EXPECT_THAT(facts.norms, Not(IsEmpty())) << facts.Name();
    EXPECT_THAT(facts.source, Not(IsEmpty())) << facts.Name();
    EXPECT_NE(facts.draws_at_random, nullptr) << facts.Name();
  }
}

TEST(AttackTableTest, EnsembleRunsItsComponents_OrThoseOfItsVersion) {
  v1::AutoAttack attack;
  attack.set_version(v1::AUTO_ATTACK_VERSION_RAND);
  EXPECT_THAT(ComponentsOf(attack), ElementsAre(v1::AUTO_ATTACK_COMPONENT_APGD_CE, v1::AUTO_ATTACK_COMPONENT_APGD_DLR));
  attack.set_version(v1::AUTO_ATTACK_VERSION_STANDARD);
  EXPECT_THAT(ComponentsOf(attack), SizeIs(4));
  attack.add_components(v1::AUTO_ATTACK_COMPONENT_SQUARE);
  EXPECT_THAT(ComponentsOf(attack), ElementsAre(v1::AUTO_ATTACK_COMPONENT_SQUARE));
}

}  // namespace
}  // namespace tightrope
